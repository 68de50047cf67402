// Entry by the PVH protocol (Xen docs/misc/pvh.pandoc): 32-bit protected mode, flat segments,
// paging off, EBX = physical address of the start info. Builds throw-away page tables (2 MiB
// pages, everything writable and executable), enters long mode and calls `kernel_main` at the
// image's link address. paging.rs replaces these tables before anything else runs.

.set KERNEL_BASE, 0xffffffff80000000

    // The note by which `qemu -kernel` finds the entry: type 18, XEN_ELFNOTE_PHYS32_ENTRY.
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_start - KERNEL_BASE

    .section .text.boot, "ax"
    .code32
    .globl pvh_start
    .type pvh_start, @function
pvh_start:
    cld
    cli
    movl $(boot_stack_top - KERNEL_BASE), %esp
    movl %ebx, %ebp

    // 2,048 entries of 2 MiB: the first 4 GiB. 0x83 = present, writable, page size.
    movl $(boot_pd - KERNEL_BASE), %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b

    // The low directory pointers: four directories.
    movl $(boot_pdpt_low - KERNEL_BASE), %edi
    movl $(boot_pd - KERNEL_BASE + 3), %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    decl %ecx
    jnz 2b

    // -2 GiB is the first GiB again; entry 0 is the identity, entry 256 the direct map.
    movl $(boot_pd - KERNEL_BASE + 3), boot_pdpt_high - KERNEL_BASE + 510 * 8
    movl $(boot_pdpt_low - KERNEL_BASE + 3), %eax
    movl %eax, boot_pml4 - KERNEL_BASE
    movl %eax, boot_pml4 - KERNEL_BASE + 256 * 8
    movl $(boot_pdpt_high - KERNEL_BASE + 3), boot_pml4 - KERNEL_BASE + 511 * 8

    call enter_long_mode
    ljmp $0x08, $(boot_64 - KERNEL_BASE)
    .size pvh_start, . - pvh_start

    // Turns on paging with the boot tables, no-execute, write protection and the SSE that the
    // compiler uses. Shared by the first CPU and, at its physical address, by the others.
    .globl enter_long_mode
    .type enter_long_mode, @function
enter_long_mode:
    movl $(boot_pml4 - KERNEL_BASE), %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax            // PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $0xc0000080, %ecx      // EFER
    rdmsr
    orl $0x900, %eax            // LME, NXE
    wrmsr
    movl %cr0, %eax
    andl $~0xc, %eax            // no EM, no TS
    orl $0x80010002, %eax       // PG, WP, MP
    movl %eax, %cr0
    lgdtl boot_gdt_pointer - KERNEL_BASE
    ret
    .size enter_long_mode, . - enter_long_mode

    .code64
    .type boot_64, @function
boot_64:
    movabsq $boot_high, %rax
    jmpq *%rax
boot_high:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movabsq $boot_stack_top, %rsp
    movl %ebp, %edi
    xorl %ebp, %ebp
    call kernel_main
    ud2
    .size boot_64, . - boot_64

    .section .data.boot, "aw"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff    // 64-bit code
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - KERNEL_BASE

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .globl boot_pml4
boot_pml4:      .skip 4096
boot_pdpt_low:  .skip 4096
boot_pdpt_high: .skip 4096
boot_pd:        .skip 4 * 4096
    .skip 16384
boot_stack_top:
    .text
