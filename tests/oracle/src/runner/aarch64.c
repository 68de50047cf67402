/*
 * The runner's answers for AArch64: what Xen's loader does (arch/arm/arm64/livepatch.c,
 * arch/arm/alternative.c and do_bug_frame of arch/arm/traps.c), and refuses.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <string.h>

#include "machine.h"

enum { FEATURE_PRESENT = 1, WORD = 4 };

#define BRANCH 0x14000000u
#define BRANCH_MASK 0x7c000000u
#define NOP 0xd503201fu

const size_t ALTERNATIVE_BYTES = 12, BUG_FRAME_BYTES = 16;

int takes_section(const char *name)
{
    return strcmp(name, ".ex_table") != 0;
}

int is_base_relative(uint32_t type)
{
    return type == R_AARCH64_RELATIVE;
}

static uint32_t word_at(const uint8_t *place)
{
    uint32_t word;
    memcpy(&word, place, WORD);
    return word;
}

static void put_word(uint8_t *place, uint32_t word)
{
    memcpy(place, &word, WORD);
    __builtin___clear_cache((char *)place, (char *)place + WORD);
}

/* Puts `width` bits of a number at bit `low` of an instruction. */
static void put_bits(uint8_t *place, int low, int width, uint64_t number)
{
    uint32_t mask = ((1u << width) - 1) << low;
    put_word(place, (word_at(place) & ~mask) | ((uint32_t)(number << low) & mask));
}

static void must_fit(int64_t number, int bits)
{
    int64_t half = (int64_t)1 << (bits - 1);
    if (number < -half || number >= half) die("does not fit", "a number");
}

/* A branch: a distance in words, at bit `low`. */
static void put_branch(uint8_t *place, int low, int width, int64_t distance)
{
    if (distance % WORD != 0) die("leads between instructions", "a branch");
    must_fit(distance, width + 2);
    put_bits(place, low, width, distance >> 2);
}

/* ADR and ADRP: two bits at 29, nineteen at 5. */
static void put_split(uint8_t *place, int64_t number)
{
    put_bits(place, 29, 2, number);
    put_bits(place, 5, 19, number >> 2);
}

/* The place in its page, in units of an access. */
static void put_low(uint8_t *place, int scale, uint64_t sum)
{
    if (sum & ((1u << scale) - 1)) die("is not aligned", "an access");
    put_bits(place, 10, 12 - scale, (sum & 0xfff) >> scale);
}

/* Sixteen bits of a number for MOVZ and MOVK, from bit `from` on. */
static void put_quarter(uint8_t *place, int from, uint64_t sum, int is_checked)
{
    if (is_checked && from < 48 && sum >> (from + 16) != 0) die("does not fit", "a number");
    put_bits(place, 5, 16, sum >> from);
}

void relocate(uint32_t type, uint8_t *place, uint64_t sum)
{
    int64_t distance = sum - (uint64_t)place;
    int64_t pages = (int64_t)((sum & -4096) - ((uint64_t)place & -4096)) >> 12;
    switch (type) {
    case R_AARCH64_ABS64: memcpy(place, &sum, 8); break;
    case R_AARCH64_PREL64: memcpy(place, &distance, 8); break;
    case R_AARCH64_ABS32:
        if (sum != (uint32_t)sum) die("does not fit", "an address");
        memcpy(place, &sum, 4);
        break;
    case R_AARCH64_PREL32:
        must_fit(distance, 32);
        memcpy(place, &distance, 4);
        break;
    case R_AARCH64_PREL16:
        must_fit(distance, 16);
        memcpy(place, &distance, 2);
        break;
    case R_AARCH64_ADR_PREL_LO21: must_fit(distance, 21); put_split(place, distance); break;
    case R_AARCH64_ADR_PREL_PG_HI21: must_fit(pages, 21); put_split(place, pages); break;
    case R_AARCH64_ADR_PREL_PG_HI21_NC: put_split(place, pages); break;
    case R_AARCH64_ADD_ABS_LO12_NC: case R_AARCH64_LDST8_ABS_LO12_NC: put_low(place, 0, sum); break;
    case R_AARCH64_LDST16_ABS_LO12_NC: put_low(place, 1, sum); break;
    case R_AARCH64_LDST32_ABS_LO12_NC: put_low(place, 2, sum); break;
    case R_AARCH64_LDST64_ABS_LO12_NC: put_low(place, 3, sum); break;
    case R_AARCH64_LDST128_ABS_LO12_NC: put_low(place, 4, sum); break;
    case R_AARCH64_MOVW_UABS_G0: put_quarter(place, 0, sum, 1); break;
    case R_AARCH64_MOVW_UABS_G0_NC: put_quarter(place, 0, sum, 0); break;
    case R_AARCH64_MOVW_UABS_G1: put_quarter(place, 16, sum, 1); break;
    case R_AARCH64_MOVW_UABS_G1_NC: put_quarter(place, 16, sum, 0); break;
    case R_AARCH64_MOVW_UABS_G2: put_quarter(place, 32, sum, 1); break;
    case R_AARCH64_MOVW_UABS_G2_NC: put_quarter(place, 32, sum, 0); break;
    case R_AARCH64_MOVW_UABS_G3: put_quarter(place, 48, sum, 0); break;
    case R_AARCH64_TSTBR14: put_branch(place, 5, 14, distance); break;
    case R_AARCH64_CONDBR19: put_branch(place, 5, 19, distance); break;
    case R_AARCH64_JUMP26: case R_AARCH64_CALL26: put_branch(place, 0, 26, distance); break;
    /* Not even the type that does nothing. */
    default: die("an unknown relocation", "payload");
    }
}

/* At the first instruction, also over a landing pad: the loader knows of none. */
void write_jump(uint8_t *at, uint64_t to)
{
    put_word(at, BRANCH);
    put_branch(at, 0, 26, to - (uint64_t)at);
}

void write_nops(uint8_t *at, size_t bytes)
{
    if (bytes % WORD != 0) die("ends between instructions", "a place for NOPs");
    for (size_t done = 0; done < bytes; done += WORD) put_word(at + done, NOP);
}

void apply_alternative(const struct image_memory *image, uint8_t *entry)
{
    int32_t original, replacement;
    uint16_t feature;
    memcpy(&original, entry, 4);
    memcpy(&replacement, entry + 4, 4);
    memcpy(&feature, entry + 8, 2);
    uint8_t *to = entry + original, *from = entry + 4 + replacement, bytes = entry[10];
    if (bytes != entry[11]) die("another length", "an alternative");
    if (feature != FEATURE_PRESENT) return;
    for (size_t at = 0; at < bytes; at += WORD) {
        uint32_t word = word_at(from + at);
        put_word(to + at, word);
        if ((word & BRANCH_MASK) != BRANCH) continue;
        uint8_t *leads_to = from + at + ((int32_t)(word << 6) >> 4);
        if (leads_to >= from && leads_to < from + bytes) continue;
        if ((uint64_t)leads_to < image->start || (uint64_t)leads_to >= image->end)
            die("leads into the payload", "a branch of a replacement");
        put_branch(to + at, 0, 26, leads_to - (to + at));
    }
}

int fix_by_bug_frame(const struct image_memory *image, ucontext_t *context, uint8_t *at, uint8_t *entry)
{
    int32_t where, text, letters;
    memcpy(&where, entry, 4);
    memcpy(&text, entry + 4, 4);
    if (entry + where != at) return 0;
    uint64_t name = (uint64_t)(entry + text);
    /* Xen stops where the file name is not one of its own. */
    if (name < image->start || name >= image->end) return 0;
    memcpy(&letters, (void *)name, 4);
    context->uc_mcontext.regs[0] = letters;
    go_on_at(context, at + WORD);
    return 1;
}

uint8_t *place_of(ucontext_t *context)
{
    return (uint8_t *)context->uc_mcontext.pc;
}

void go_on_at(ucontext_t *context, uint8_t *at)
{
    context->uc_mcontext.pc = (uint64_t)at;
}
