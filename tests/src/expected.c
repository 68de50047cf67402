/*
 * Prints what the target's functions give on the host, by the names and with the arguments of the
 * test kernel's checks (runtime/testkernel/src/target.rs).
 */
#include "target.h"

int printf(const char *format, ...);

/* FNV-1a, as the kernel hashes strings. */
static u32 hash(const char *text)
{
    u32 hash = 0x811c9dc5;

    while (*text)
        hash = (hash ^ (u8)*text++) * 0x01000193;
    return hash;
}

/* What the kernel offers; on the host nobody calls it. */
void log_line(const char *text)
{
    (void)text;
}

int main(void)
{
    u32 hot = 0, operations = 0, greetings = 0;

    for (u32 seed = 0; seed < 8; seed++)
        hot ^= hot_mix(seed);
    for (u32 index = 0; index < 6; index++)
        operations += run_operation(index, 0x01020304);
    for (u32 index = 0; index < 4; index++)
        greetings = greetings * 31 ^ hash(greeting(index));
    printf("hot_mix=%#x\n", hot);
    printf("run_operation=%#x\n", operations);
    printf("weigh=%#x\n", weigh(0xf0f01234));
    printf("greeting=%#x\n", greetings);
    printf("extra_version=%#x\n", hash(extra_version()));
    printf("always_zero=%#x\n", always_zero());
    printf("check=%#x\n", check_range(123456789) ^ check_depth(987654321));
    printf("version_text=%s\n", extra_version());
    return 0;
}
