/* Constructs in assembler, as Xen has them on x86-64. */
#define WARN(text) ({ int w_; asm volatile("1: ud2\n\t" \
	".pushsection .rodata.str1.1,\"aMS\",@progbits,1\n3: .asciz \"" text "\"\n\t.popsection\n\t" \
	".pushsection .bug_frames.1,\"a\",@progbits\n\t.balign 4\n2: .long 1b - 2b + (%c1 << 24), 3b - 2b\n\t.popsection" \
	: "=a"(w_) : "i"(__LINE__ & 127)); w_; })
#define LOAD_OR(value) ({ int e_; asm volatile("1: movl (%1), %0\n2:\n\t" \
	".pushsection .fixup,\"ax\",@progbits\n3: movl $" #value ", %0\n\tjmp 2b\n\t.popsection\n\t" \
	".pushsection .ex_table,\"a\",@progbits\n\t.balign 4\n\t.long 1b - ., 3b - .\n\t.popsection" \
	: "=r"(e_) : "r"(8L)); e_; })
#define ALTERNATIVE(value, old, new, feature) ({ int a_ = (value); asm volatile( \
	"1: addl $" #old ", %0\n\tnop\n\tnop\n\tnop\n2:\n\t" \
	".pushsection .altinstructions,\"a\",@progbits\n\t.long 1b - ., 3f - .\n\t.word " #feature "\n\t" \
	".byte 2b - 1b, 4f - 3f, 0, 0\n\t.popsection\n\t" \
	".pushsection .altinstr_replacement,\"ax\",@progbits\n3: addl $" #new ", %0\n4:\n\t.popsection" \
	: "+a"(a_) : : "cc"); a_; })
