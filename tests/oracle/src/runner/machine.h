/*
 * What the runner asks of the machine that it runs on. Each machine answers in a file of its own;
 * what is the same on all is in runner.c.
 */
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

/* The memory of the image; the payload lies behind it. */
struct image_memory { uint64_t start, end; };

/* Says what is wrong, and ends. */
void die(const char *what, const char *which);

/* Sizes of the entries of tables, in bytes. */
extern const size_t ALTERNATIVE_BYTES, BUG_FRAME_BYTES;
/* Whether the loader takes a section of the payload. */
int takes_section(const char *name);

/* Whether a dynamic relocation of the image says no more than where it lies. */
int is_base_relative(uint32_t type);
/* Writes a relocation of the payload; `sum` is symbol plus addend. */
void relocate(uint32_t type, uint8_t *place, uint64_t sum);

/* Writes the jump to `to` at the function that begins at `at`. */
void write_jump(uint8_t *at, uint64_t to);
/* Writes instructions that do nothing. */
void write_nops(uint8_t *at, size_t bytes);

/* Replaces code as one entry of .altinstructions says. */
void apply_alternative(const struct image_memory *image, uint8_t *entry);
/* Goes on behind a warning at `at` with the first letters of its text, if it is the entry's. */
int fix_by_bug_frame(const struct image_memory *image, ucontext_t *context, uint8_t *at, uint8_t *entry);

/* Where the code was, and where it goes on. */
uint8_t *place_of(ucontext_t *context);
void go_on_at(ucontext_t *context, uint8_t *at);
