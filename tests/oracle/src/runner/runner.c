/*
 * Maps an image into this process, applies a payload as a hypervisor's loader would, calls
 * functions and prints what they answer. It shares no code with the runtime, so that a fault that
 * linker and runtime have in common shows. What a machine does in its own way is asked of
 * machine.h.
 *
 * runner IMAGE PAYLOAD|- PREFIX: reads lines from standard input. `before NAME A B` is called
 * before the payload is applied, in the warm round alone; `call NAME A B` afterwards, cold and warm.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

enum { PAGE = 4096, PAYLOAD_ROOM = 16 << 20, CALLS_MAX = 20000, TABLES_MAX = 64 };

struct file { const uint8_t *bytes; const Elf64_Ehdr *header; const Elf64_Shdr *sections; const char *names; };
struct table { const char *name; uint8_t *start; size_t bytes; };
struct call { int is_before; char name[32]; long first, second; };

static struct table tables[TABLES_MAX];
static int table_count;
static struct call calls[CALLS_MAX];
static int call_count;
static struct image_memory memory;

void die(const char *what, const char *which)
{
    fprintf(stderr, "runner: %s: %s\n", what, which);
    exit(3);
}

static struct file open_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) die("cannot be read", path);
    const uint8_t *bytes = mmap(0, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) die("cannot be mapped", path);
    struct file file = { bytes, (const Elf64_Ehdr *)bytes, 0, 0 };
    file.sections = (const Elf64_Shdr *)(bytes + file.header->e_shoff);
    file.names = (const char *)bytes + file.sections[file.header->e_shstrndx].sh_offset;
    return file;
}

static const char *name_of(const struct file *file, const Elf64_Shdr *section)
{
    return file->names + section->sh_name;
}

static const Elf64_Shdr *symtab(const struct file *file)
{
    for (int i = 0; i < file->header->e_shnum; i++)
        if (file->sections[i].sh_type == SHT_SYMTAB) return &file->sections[i];
    die("no symbols", "image or payload");
    return 0;
}

/* The address of a name of the image; locals are named FILE#NAME. */
static uint64_t lookup(const struct file *image, const char *wanted)
{
    const Elf64_Shdr *table = symtab(image);
    const Elf64_Sym *symbols = (const Elf64_Sym *)(image->bytes + table->sh_offset);
    const char *strings = (const char *)image->bytes + image->sections[table->sh_link].sh_offset;
    const char *hash = strchr(wanted, '#');
    const char *file = "";
    uint64_t found = 0;
    for (size_t i = 1; i < table->sh_size / sizeof *symbols; i++) {
        const char *name = strings + symbols[i].st_name;
        int type = ELF64_ST_TYPE(symbols[i].st_info);
        if (type == STT_FILE) { file = name; continue; }
        if (symbols[i].st_shndx == SHN_UNDEF || type == STT_SECTION) continue;
        if (hash) {
            size_t length = hash - wanted;
            int is_it = ELF64_ST_BIND(symbols[i].st_info) == STB_LOCAL && strlen(file) == length
                && memcmp(file, wanted, length) == 0 && strcmp(name, hash + 1) == 0;
            if (is_it) return symbols[i].st_value;
        } else if (strcmp(name, wanted) == 0) {
            if (ELF64_ST_BIND(symbols[i].st_info) != STB_LOCAL) return symbols[i].st_value;
            found = symbols[i].st_value;
        }
    }
    return found;
}

static uint64_t map_image(const struct file *image)
{
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(image->bytes + image->header->e_phoff);
    uint64_t low = UINT64_MAX, end = 0;
    for (int i = 0; i < image->header->e_phnum; i++) {
        if (segments[i].p_type != PT_LOAD) continue;
        if (segments[i].p_vaddr < low) low = segments[i].p_vaddr;
        if (segments[i].p_vaddr + segments[i].p_memsz > end) end = segments[i].p_vaddr + segments[i].p_memsz;
    }
    low &= -PAGE;
    end = (end + PAGE - 1) & -PAGE;
    void *at = mmap((void *)low, end - low + PAGE + PAYLOAD_ROOM, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != (void *)low) die("the address is taken", "image");
    for (int i = 0; i < image->header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD)
            memcpy((void *)segments[i].p_vaddr, image->bytes + segments[i].p_offset, segments[i].p_filesz);
    for (int i = 0; i < image->header->e_shnum; i++) {
        const Elf64_Shdr *section = &image->sections[i];
        if (!(section->sh_flags & SHF_ALLOC)) continue;
        if (section->sh_type == SHT_RELA) {
            const Elf64_Rela *entries = (const Elf64_Rela *)(image->bytes + section->sh_offset);
            for (size_t n = 0; n < section->sh_size / sizeof *entries; n++) {
                if (!is_base_relative(ELF64_R_TYPE(entries[n].r_info))) die("a dynamic relocation", "image");
                *(uint64_t *)entries[n].r_offset = entries[n].r_addend;
            }
        }
        if (table_count < TABLES_MAX)
            tables[table_count++] = (struct table){ name_of(image, section), (uint8_t *)section->sh_addr, section->sh_size };
    }
    memory = (struct image_memory){ low, end };
    return end + PAGE;
}

/* Loads and applies; `prefix` begins the names of the payload's own sections. */
static void apply_payload(const struct file *image, const struct file *payload, uint64_t free, const char *prefix)
{
    static uint64_t placed[4096];
    uint64_t start = free;
    int count = payload->header->e_shnum;
    if (count > 4096) die("too many sections", "payload");
    for (int i = 0; i < count; i++) {
        const Elf64_Shdr *section = &payload->sections[i];
        if (!(section->sh_flags & SHF_ALLOC) || section->sh_size == 0) continue;
        if (!takes_section(name_of(payload, section))) die("is not taken", name_of(payload, section));
        uint64_t alignment = section->sh_addralign > 1 ? section->sh_addralign : 1;
        free = (free + alignment - 1) & -alignment;
        placed[i] = free;
        if (section->sh_type != SHT_NOBITS) memcpy((void *)free, payload->bytes + section->sh_offset, section->sh_size);
        free += section->sh_size;
        if (table_count < TABLES_MAX)
            tables[table_count++] = (struct table){ name_of(payload, section), (uint8_t *)placed[i], section->sh_size };
    }
    const Elf64_Shdr *table = symtab(payload);
    const Elf64_Sym *symbols = (const Elf64_Sym *)(payload->bytes + table->sh_offset);
    const char *strings = (const char *)payload->bytes + payload->sections[table->sh_link].sh_offset;
    for (int i = 0; i < count; i++) {
        const Elf64_Shdr *section = &payload->sections[i];
        if (section->sh_type != SHT_RELA || placed[section->sh_info] == 0) continue;
        const Elf64_Rela *entries = (const Elf64_Rela *)(payload->bytes + section->sh_offset);
        for (size_t n = 0; n < section->sh_size / sizeof *entries; n++) {
            const Elf64_Sym *symbol = &symbols[ELF64_R_SYM(entries[n].r_info)];
            uint64_t value = symbol->st_value;
            if (symbol->st_shndx == SHN_UNDEF && ELF64_R_SYM(entries[n].r_info) != 0) {
                value = lookup(image, strings + symbol->st_name);
                if (value == 0 && ELF64_ST_BIND(symbol->st_info) != STB_WEAK) die("is not in the base", strings + symbol->st_name);
            } else if (symbol->st_shndx < SHN_LORESERVE && symbol->st_shndx != SHN_UNDEF) {
                value += placed[symbol->st_shndx];
            }
            uint8_t *place = (uint8_t *)placed[section->sh_info] + entries[n].r_offset;
            uint64_t sum = value + entries[n].r_addend;
            relocate(ELF64_R_TYPE(entries[n].r_info), place, sum);
        }
    }
    __builtin___clear_cache((char *)start, (char *)free);
    char funcs[64];
    snprintf(funcs, sizeof funcs, "%sfuncs", prefix);
    size_t record_bytes = strcmp(prefix, ".livepatch.") == 0 ? 104 : 64;
    for (int i = 0; i < count; i++) {
        if (placed[i] == 0 || strcmp(name_of(payload, &payload->sections[i]), funcs) != 0) continue;
        for (size_t at = 0; at + record_bytes <= payload->sections[i].sh_size; at += record_bytes) {
            uint64_t record[4];
            memcpy(record, (void *)(placed[i] + at), sizeof record);
            uint64_t old = record[2] ? record[2] : lookup(image, (const char *)record[0]);
            if (old == 0) die("a record without a function", (const char *)record[0]);
            if (record[1]) write_jump((uint8_t *)old, record[1]);
            else write_nops((uint8_t *)old, record[3] & 0xffffffff);
        }
    }
}

/* Replaces code as the boot does, in the tables from `first` on. */
static void apply_alternatives(int first)
{
    for (int i = first; i < table_count; i++) {
        if (strcmp(tables[i].name, ".altinstructions") != 0) continue;
        uint8_t *end = tables[i].start + tables[i].bytes;
        for (uint8_t *entry = tables[i].start; entry + ALTERNATIVE_BYTES <= end; entry += ALTERNATIVE_BYTES)
            apply_alternative(&memory, entry);
    }
}

static int fix_by_exception(ucontext_t *context, uint8_t *at)
{
    for (int i = 0; i < table_count; i++) {
        if (strcmp(tables[i].name, ".ex_table") != 0) continue;
        for (uint8_t *entry = tables[i].start; entry + 8 <= tables[i].start + tables[i].bytes; entry += 8) {
            int32_t fault, fixup;
            memcpy(&fault, entry, 4);
            memcpy(&fixup, entry + 4, 4);
            if (entry + fault == at) {
                go_on_at(context, entry + 4 + fixup);
                return 1;
            }
        }
    }
    return 0;
}

static int fix_by_warning(ucontext_t *context, uint8_t *at)
{
    for (int i = 0; i < table_count; i++) {
        if (strcmp(tables[i].name, ".bug_frames.1") != 0) continue;
        uint8_t *end = tables[i].start + tables[i].bytes;
        for (uint8_t *entry = tables[i].start; entry + BUG_FRAME_BYTES <= end; entry += BUG_FRAME_BYTES)
            if (fix_by_bug_frame(&memory, context, at, entry)) return 1;
    }
    return 0;
}

static void on_fault(int number, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;
    uint8_t *at = place_of(context);
    (void)info;
    if (number == SIGSEGV ? fix_by_exception(context, at) : fix_by_warning(context, at)) return;
    printf("signal %d at %p\n", number, (void *)at);
    fflush(stdout);
    _exit(4);
}

static void call_all(const struct file *image, int is_before)
{
    for (int i = 0; i < call_count; i++) {
        if (calls[i].is_before != is_before) continue;
        uint64_t address = lookup(image, calls[i].name);
        if (address == 0) die("is not in the image", calls[i].name);
        if (!is_before) {
            printf("%s(%ld, %ld) = ", calls[i].name, calls[i].first, calls[i].second);
            fflush(stdout);
        }
        int answer = ((int (*)(long, long))address)(calls[i].first, calls[i].second);
        if (!is_before) printf("%d\n", answer);
    }
}

int main(int count, char **words)
{
    if (count != 4) die("usage", "runner IMAGE PAYLOAD|- PREFIX");
    char kind[8];
    while (call_count < CALLS_MAX
           && scanf("%7s %31s %ld %ld", kind, calls[call_count].name, &calls[call_count].first, &calls[call_count].second) == 4) {
        calls[call_count].is_before = kind[0] == 'b';
        call_count++;
    }
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    for (int number = 0; number < 4; number++)
        sigaction((int[]){ SIGSEGV, SIGILL, SIGBUS, SIGTRAP }[number], &action, 0);
    struct file image = open_file(words[1]);
    uint64_t free = map_image(&image);
    apply_alternatives(0);
    for (int is_warm = 0; is_warm < 2; is_warm++) {
        fflush(stdout);
        pid_t child = fork();
        if (child != 0) {
            int status;
            waitpid(child, &status, 0);
            if (status != 0) printf("%s round: ended by %#x\n", is_warm ? "warm" : "cold", status);
            continue;
        }
        alarm(10);
        if (is_warm) call_all(&image, 1);
        if (strcmp(words[2], "-") != 0) {
            struct file payload = open_file(words[2]);
            int first = table_count;
            apply_payload(&image, &payload, free, words[3]);
            apply_alternatives(first);
        }
        printf("%s\n", is_warm ? "warm" : "cold");
        call_all(&image, 0);
        fflush(stdout);
        _exit(0);
    }
    return 0;
}
