// The memory functions that compiled code calls and the prebuilt libraries for this target expect
// from a C library (System V calling convention).

    .section .text.memory, "ax"
    .code64
    .globl memcpy, memmove, memset, memcmp, bcmp, strlen

    .type memcpy, @function
memcpy:
    movq %rdi, %rax
.Lcopy_forward:
    movq %rdx, %rcx
    shrq $3, %rcx
    rep movsq
    movl %edx, %ecx
    andl $7, %ecx
    rep movsb
    ret
    .size memcpy, . - memcpy

    .type memmove, @function
memmove:
    movq %rdi, %rax
    movq %rdi, %r8
    subq %rsi, %r8
    cmpq %rdx, %r8              // destination inside the source: copy from the end
    jae .Lcopy_forward
    movq %rdx, %rcx
    leaq -1(%rdi, %rdx), %rdi
    leaq -1(%rsi, %rdx), %rsi
    std
    rep movsb
    cld
    ret
    .size memmove, . - memmove

    .type memset, @function
memset:
    movq %rdi, %r8
    movzbl %sil, %eax
    movabsq $0x0101010101010101, %rcx
    imulq %rcx, %rax
    movq %rdx, %rcx
    shrq $3, %rcx
    rep stosq
    movl %edx, %ecx
    andl $7, %ecx
    rep stosb
    movq %r8, %rax
    ret
    .size memset, . - memset

    .type memcmp, @function
    .type bcmp, @function
memcmp:
bcmp:
    movq %rdx, %rcx
    xorl %eax, %eax
    xorl %edx, %edx
    cmpq %rcx, %rcx             // equal, also for no bytes at all
    repe cmpsb
    je 1f
    movzbl -1(%rdi), %eax
    movzbl -1(%rsi), %edx
    subl %edx, %eax
1:  ret
    .size memcmp, . - memcmp
    .size bcmp, . - bcmp

    .type strlen, @function
strlen:
    movq $-1, %rax
1:  incq %rax
    cmpb $0, (%rdi, %rax)
    jne 1b
    ret
    .size strlen, . - strlen
    .text
