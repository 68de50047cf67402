/* The runner's answers for x86-64. */
#define _GNU_SOURCE
#include <elf.h>
#include <string.h>

#include "machine.h"

enum { FEATURE_PRESENT = 1, CALL = 0xe8, JUMP = 0xe9, BRANCH_BYTES = 5, NOP = 0x90, TRAP_BYTES = 2 };

const size_t ALTERNATIVE_BYTES = 14, BUG_FRAME_BYTES = 8;

int takes_section(const char *name)
{
    (void)name;
    return 1;
}

int is_base_relative(uint32_t type)
{
    return type == R_X86_64_RELATIVE;
}

void relocate(uint32_t type, uint8_t *place, uint64_t sum)
{
    int64_t distance = sum - (uint64_t)place;
    switch (type) {
    case R_X86_64_NONE: break;
    case R_X86_64_64: memcpy(place, &sum, 8); break;
    case R_X86_64_PC64: memcpy(place, &distance, 8); break;
    case R_X86_64_32S:
        if ((int64_t)sum != (int32_t)sum) die("does not fit", "an address");
        memcpy(place, &sum, 4);
        break;
    case R_X86_64_PC32: case R_X86_64_PLT32:
        if (distance != (int32_t)distance) die("does not fit", "a distance");
        memcpy(place, &distance, 4);
        break;
    default: die("an unknown relocation", "payload");
    }
}

void write_jump(uint8_t *at, uint64_t to)
{
    static const uint8_t endbr[4] = { 0xf3, 0x0f, 0x1e, 0xfa };
    if (memcmp(at, endbr, sizeof endbr) == 0) at += sizeof endbr;
    int32_t distance = to - (uint64_t)(at + BRANCH_BYTES);
    at[0] = JUMP;
    memcpy(at + 1, &distance, sizeof distance);
}

void write_nops(uint8_t *at, size_t bytes)
{
    memset(at, NOP, bytes);
}

void apply_alternative(const struct image_memory *image, uint8_t *entry)
{
    (void)image;
    int32_t original, replacement;
    uint16_t feature;
    memcpy(&original, entry, 4);
    memcpy(&replacement, entry + 4, 4);
    memcpy(&feature, entry + 8, 2);
    if (feature != FEATURE_PRESENT) return;
    uint8_t *to = entry + original, *from = entry + 4 + replacement;
    uint8_t code[256];
    memset(code, NOP, sizeof code);
    memcpy(code, from, entry[11]);
    if (entry[11] == BRANCH_BYTES && (code[0] == CALL || code[0] == JUMP)) {
        int32_t distance;
        memcpy(&distance, code + 1, 4);
        distance += from - to;
        memcpy(code + 1, &distance, 4);
    }
    memcpy(to, code, entry[10]);
}

int fix_by_bug_frame(const struct image_memory *image, ucontext_t *context, uint8_t *at, uint8_t *entry)
{
    (void)image;
    int32_t words[2], letters;
    memcpy(words, entry, 8);
    int32_t where = (int32_t)((uint32_t)words[0] << 8) >> 8, text = (int32_t)((uint32_t)words[1] << 8) >> 8;
    if (entry + where != at) return 0;
    memcpy(&letters, entry + text, 4);
    context->uc_mcontext.gregs[REG_RAX] = letters;
    go_on_at(context, at + TRAP_BYTES);
    return 1;
}

uint8_t *place_of(ucontext_t *context)
{
    return (uint8_t *)context->uc_mcontext.gregs[REG_RIP];
}

void go_on_at(ucontext_t *context, uint8_t *at)
{
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)at;
}
