/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a patch author includes: hooks, XSPLICE_ACCEPT, shadow variables.
 *
 * Everything here leaves its mark in sections that xsplice-diff reads in the patched object; none
 * of it does anything in an ordinary build, as long as the linker script keeps or drops sections
 * that it does not know. Compile with -DXSPLICE_ABI_LIVEPATCH for `--abi livepatch`.
 */
#ifndef XSPLICE_H
#define XSPLICE_H

#ifdef XSPLICE_ABI_LIVEPATCH
#define XSPLICE_PREFIX ".livepatch."
#else
#define XSPLICE_PREFIX ".xsplice."
#endif

#ifndef __ASSEMBLER__

/*
 * What hooks other than load and unload are given (runtime/abi/src/hook.rs: HookArgument). Fields
 * are only ever added at the end; `bytes` tells how many there are.
 */
struct xsplice_hook_arg {
    unsigned int bytes;   /* size of this structure */
    unsigned int state;   /* 1 checked, 2 applied */
    int rc;               /* result of the action: 0 or a negated error number; for post-hooks */
    unsigned int records; /* number of records */
    const char *name;     /* name of the payload */
    void *funcs;          /* the first record */
};

_Static_assert(sizeof(struct xsplice_hook_arg) == 32, "layout of the runtime's HookArgument");

/* A function that XSPLICE_LOAD_HOOK and XSPLICE_UNLOAD_HOOK take. */
typedef void xsplice_load_fn(void);
/*
 * A function that the other kinds take: preapply and prerevert may veto, apply and revert replace
 * the patcher's own, postapply and postrevert see the result. 0, or a negated error number.
 */
typedef int xsplice_hook_fn(struct xsplice_hook_arg *arg);

#define XSPLICE_POINTER_(type, kind, fn)                                                           \
    static type *const xsplice_##kind##_##fn                                                       \
        __attribute__((used, section(XSPLICE_PREFIX "hooks." #kind))) = (fn)

/*
 * Hooks. FN is a function defined above the macro. Load and unload hooks may occur several times
 * and run in order, inside the quiescent zone: with the prefix .livepatch. before the jumps are
 * written and after they are removed, otherwise after they are written and before they are removed.
 * Of the other kinds a payload has at most one.
 *
 * A hook answers 0 or a negated error number, and never -11 (-EAGAIN), which is what an action that
 * is in progress has. A pre-hook may be called again without its post-hook in between: the action
 * that a CPU comes too late for ends in between.
 */
#define XSPLICE_LOAD_HOOK(fn) XSPLICE_POINTER_(xsplice_load_fn, load, fn)
#define XSPLICE_UNLOAD_HOOK(fn) XSPLICE_POINTER_(xsplice_load_fn, unload, fn)
#define XSPLICE_PREAPPLY_HOOK(fn) XSPLICE_POINTER_(xsplice_hook_fn, preapply, fn)
#define XSPLICE_APPLY_HOOK(fn) XSPLICE_POINTER_(xsplice_hook_fn, apply, fn)
#define XSPLICE_POSTAPPLY_HOOK(fn) XSPLICE_POINTER_(xsplice_hook_fn, postapply, fn)
#define XSPLICE_PREREVERT_HOOK(fn) XSPLICE_POINTER_(xsplice_hook_fn, prerevert, fn)
#define XSPLICE_REVERT_HOOK(fn) XSPLICE_POINTER_(xsplice_hook_fn, revert, fn)
#define XSPLICE_POSTREVERT_HOOK(fn) XSPLICE_POINTER_(xsplice_hook_fn, postrevert, fn)

#ifndef XSPLICE_ABI_LIVEPATCH

/*
 * A word of data that is changed in place with the functions, and put back by revert: an entry of
 * a table of function pointers, say, whose function must stay as it is for its other
 * callers (runtime/abi/src/record.rs: WordRecord).
 */
struct xsplice_word {
    const char *name;
    const volatile void *address; /* of the word: 8 bytes, aligned */
    const void *expected;         /* what it must hold before */
    const void *value;            /* what it holds while the payload is applied */
};

_Static_assert(sizeof(struct xsplice_word) == 32, "layout of the runtime's WordRecord");

/*
 * XSPLICE_WORD(NAME, &table[3].run, old_run, new_run); NAME is for messages. Numbers are cast to
 * pointers. Stands at file level, below what it names.
 */
#define XSPLICE_WORD(name_, address_, expected_, value_)                                           \
    static const struct xsplice_word xsplice_word_##name_                                          \
        __attribute__((used, aligned(8), section(XSPLICE_PREFIX "words"))) = {                     \
            #name_, (address_), (const void *)(expected_), (const void *)(value_)                  \
        }

#endif

/*
 * Accepts a refusal that the author has dealt with: XSPLICE_ACCEPT(data, burst_limit); says that
 * the changed initial value of burst_limit is seen to (by a hook, say). WHAT is the word that the
 * refusal names: data, bss, rodata, init, per-cpu, linker-set, section, assembly, common,
 * static-local, layout, prototype, definition, toolchain. NAME is the symbol, the section, the
 * type's tag or typedef, or for toolchain a reason. Stands at file level.
 */
#define XSPLICE_ACCEPT(what, name)                                                                 \
    __asm__(".pushsection " XSPLICE_PREFIX "accept,\"\",@progbits\n\t"                             \
            ".asciz \"" #what ":" #name "\"\n\t"                                                   \
            ".popsection")

/* Leaves out functions that differ in line numbers alone, as --accept line-numbers does. */
#define XSPLICE_ACCEPT_LINE_NUMBERS                                                                \
    __asm__(".pushsection " XSPLICE_PREFIX "accept,\"\",@progbits\n\t"                             \
            ".asciz \"line-numbers\"\n\t"                                                          \
            ".popsection")

/*
 * Shadow variables: new fields of objects that already exist and cannot grow. The runtime keeps
 * them by the address of the object and a NUMBER that the author chooses, the same in every
 * payload that shares the variable.
 */

/* Address of the variable NUMBER of OBJECT, or null. */
void *xsplice_shadow_get(const void *object, unsigned long number);
/* Attaches a new variable of zeros; null when it is there already or there is no memory. */
void *xsplice_shadow_attach(const void *object, unsigned long number, unsigned long bytes);
/* Address of the variable, attached now if it was not there; null without memory. */
void *xsplice_shadow_get_or_attach(const void *object, unsigned long number, unsigned long bytes);
/* Frees the variable: 0, or -ENOENT. */
int xsplice_shadow_detach(const void *object, unsigned long number);
/* Frees the variables of this number of all objects; returns how many there were. */
unsigned long xsplice_shadow_detach_all(unsigned long number);

#endif /* __ASSEMBLER__ */

#endif /* XSPLICE_H */
