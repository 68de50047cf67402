// One stub for each vector. Every gate uses an interrupt stack (idt.rs), because the compiler's
// red zone below the interrupted stack pointer must stay as it is, and keeps interrupts off.
// A stub makes the frame uniform (error code, vector), saves all registers including SSE, and
// calls `trap_entry(&mut Frame)`.

    .section .text.entry, "ax"
    .code64
    .globl trap_common
    .type trap_common, @function
trap_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    subq $512, %rsp             // 22 words above, so this is a multiple of 16
    fxsave64 (%rsp)
    call trap_entry
    fxrstor64 (%rsp)
    addq $512, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp              // vector, error code
    iretq
    .size trap_common, . - trap_common

    // The vectors with an error code: 8, 10 to 14, 17, 21, 29, 30 (SDM volume 3, table 6-1;
    // APM volume 2, table 8-1).
    .altmacro
    .macro stub vector
    .balign 16
    trap_stub_\vector:
    .if (\vector == 8) || (\vector >= 10 && \vector <= 14) || (\vector == 17) || (\vector == 21) || (\vector == 29) || (\vector == 30)
    .else
    pushq $0
    .endif
    pushq $\vector
    jmp trap_common
    .endm
    .macro stub_address vector
    .quad trap_stub_\vector
    .endm

    .set i, 0
    .rept 256
    stub %i
    .set i, i + 1
    .endr

    .section .rodata.entry, "a"
    .balign 8
    .globl trap_stubs
trap_stubs:
    .set i, 0
    .rept 256
    stub_address %i
    .set i, i + 1
    .endr
    .noaltmacro
    .text
