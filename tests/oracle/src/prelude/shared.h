/* What every file of a program begins with, behind its machine's own. */
typedef int quad __attribute__((vector_size(16)));
struct ops { int (*run)(int, int); int v; };
extern const int __start_steps[] __attribute__((visibility("hidden")));
extern const int __stop_steps[] __attribute__((visibility("hidden")));
int common_words __attribute__((common));
__attribute__((weak, visibility("hidden"))) void *memcpy(void *to, const void *from, unsigned long n)
{ for (unsigned long i = 0; i < n; i++) ((volatile char *)to)[i] = ((const char *)from)[i]; return to; }
__attribute__((weak, visibility("hidden"))) void *memset(void *to, int with, unsigned long n)
{ for (unsigned long i = 0; i < n; i++) ((volatile char *)to)[i] = with; return to; }
static inline __attribute__((unused)) int counted(int a) { static int n = 1; n += a & 7; return n; }
static __attribute__((noinline, unused)) int deep(int n, int v) { return n <= 0 ? v : deep(n - 1, v * 3 + n) + 1; }
static __attribute__((noinline, unused)) int note(int line) { static int calls; return ++calls + (line > 0); }
