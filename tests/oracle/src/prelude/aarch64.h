/* Constructs in assembler, as Xen has them on AArch64, and what is this machine's own. */
#ifdef HIDDEN
#pragma GCC visibility push(hidden)
#endif
/* The text is a file name. Behind it, where a message would be, stands an empty one: of a place at a section's
 * end, lld says that it is outside. */
#define WARN(text) ({ register int w_ asm("w0"); asm volatile("1: brk #1\n\t" \
	".pushsection .rodata.str,\"aMS\",%%progbits,1\n2: .asciz \"" text "\"\n3: .asciz \"\"\n\t.popsection\n\t" \
	".pushsection .bug_frames.1,\"a\",%%progbits\n4: .p2align 2\n\t.long 1b - 4b, 2b - 4b, 3b - 4b\n\t" \
	".hword %c1, 0\n\t.popsection" \
	: "=r"(w_) : "i"(__LINE__)); w_; })
#define LOAD_OR(value) ({ int e_; asm volatile("1: ldr %w0, [%1]\n2:\n\t" \
	".pushsection .fixup,\"ax\",%%progbits\n3: mov %w0, #" #value "\n\tb 2b\n\t.popsection\n\t" \
	".pushsection .ex_table,\"a\",%%progbits\n\t.balign 4\n\t.long 1b - ., 3b - .\n\t.popsection" \
	: "=r"(e_) : "r"(8L)); e_; })
#define ALTERNATIVE(value, old, new, feature) ({ int a_ = (value); asm volatile( \
	"1: add %w0, %w0, #" #old "\n\tnop\n2:\n\t" \
	".pushsection .altinstructions,\"a\",%%progbits\n\t.long 1b - ., 3f - .\n\t.hword " #feature "\n\t" \
	".byte 2b - 1b, 4f - 3f\n\t.popsection\n\t" \
	".pushsection .altinstr_replacement,\"ax\",%%progbits\n3: add %w0, %w0, #" #new "\n\tnop\n4:\n\t.popsection" \
	: "+r"(a_) : : "cc"); a_; })
#define LITERAL(value) ({ int l_; asm volatile("ldr %w0, =" #value "\n\tb 1f\n\t.ltorg\n1:" : "=r"(l_)); l_; })
#define NEAR_DATA(value, index) ({ int n_; long p_; asm volatile("adr %1, 1f\n\tldr %w0, [%1, %w2, uxtw #2]\n\t" \
	"b 2f\n1: .long " #value ", " #value " * 3\n2:" : "=&r"(n_), "=&r"(p_) : "r"(index)); n_; })
/* What atomic accesses call, unless compiled otherwise. */
__attribute__((weak, visibility("hidden"))) int __aarch64_ldadd4_acq_rel(int by, int *at)
{
	int old, sum, failed;
	do asm volatile("ldaxr %w0, [%3]\n\tadd %w1, %w0, %w4\n\tstlxr %w2, %w1, [%3]"
		: "=&r"(old), "=&r"(sum), "=&r"(failed) : "r"(at), "r"(by) : "memory");
	while (failed);
	return old;
}
