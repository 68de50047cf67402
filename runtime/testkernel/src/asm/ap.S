// Where the other CPUs start: real mode at AP_START, the page that the start-up IPI names. smp.rs
// copies everything between the two labels there. Each CPU takes its number with one locked add,
// enters long mode through the boot tables, then takes the kernel's tables and its own stack from
// the table that smp.rs filled, and calls `ap_main(number)`.
//
// Parameters, written by smp.rs before the IPI: ap_cr3, ap_stacks.

.set KERNEL_BASE, 0xffffffff80000000
.set AP_START, 0x8000

    .section .rodata.ap, "a"
    .balign 16
    .globl ap_blob, ap_blob_end
    .code16
ap_blob:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AP_START + (ap_gdt_pointer - ap_blob)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x08, $(AP_START + (ap_32 - ap_blob))
    .code32
ap_32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw %ax, %es
    // A few bytes of stack for one call, unshared: 16 bytes below AP_START for each number.
    movl $1, %ebx
    lock xaddl %ebx, ap_next - KERNEL_BASE
    movl %ebx, %eax
    shll $4, %eax
    movl $AP_START, %esp
    subl %eax, %esp
    movl $(enter_long_mode - KERNEL_BASE), %eax
    call *%eax
    ljmp $0x08, $(ap_64 - KERNEL_BASE)
    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    // 32-bit code, flat
    .quad 0x00cf92000000ffff    // data, flat
ap_gdt_pointer:
    .word ap_gdt_pointer - ap_gdt - 1
    .long AP_START + (ap_gdt - ap_blob)
ap_blob_end:

    .section .text.boot, "ax"
    .code64
    .type ap_64, @function
ap_64:
    movabsq $ap_high, %rax
    jmpq *%rax
ap_high:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movq ap_cr3(%rip), %rax
    movq %rax, %cr3
    leaq ap_stacks(%rip), %rax
    movl %ebx, %edi
    movq (%rax, %rdi, 8), %rsp
    xorl %ebp, %ebp
    call ap_main
    ud2
    .size ap_64, . - ap_64

    .section .data.ap, "aw"
    .balign 8
    .globl ap_next, ap_cr3, ap_stacks
ap_next:    .quad 1             // the first CPU is number 0
ap_cr3:     .quad 0
ap_stacks:  .skip 64 * 8        // CPUS_MAX tops of stack
    .text
