/* The part of faults.c that counts stores to pages mapped from a file: they are kept read-only while
 * armed, and the handler of SIGSEGV counts the first store to each.
 */
#ifndef MAPPED_PAGES_H
#define MAPPED_PAGES_H

static void
forget(uintptr_t start, uintptr_t end)
{
    for (int i = 0; i < RANGES; i++) {
        if (ranges[i].start < end && start < ranges[i].end) {
            ranges[i].start = ranges[i].end = 0;
        }
    }
}

static void
keep(uintptr_t start, uintptr_t end)
{
    for (int i = 0; i < RANGES; i++) {
        if (!ranges[i].end) {
            ranges[i].start = start;
            ranges[i].end = end;
            return;
        }
    }
    abort();
}

#define MAP(name, offset)                                        \
    void *name(void *start, size_t size, int access, int flags, int fd, offset from) \
    {                                                            \
        static void *(*real)(void *, size_t, int, int, int, offset); \
        int writes = (flags & MAP_SHARED) && (access & PROT_WRITE) && fd >= 0; \
        int what = writes ? fault_at(#name) : NONE;                \
        if (what == FAIL) {                                      \
            failed();                                            \
            return MAP_FAILED;                                   \
        }                                                        \
        if (!real) {                                             \
            *(void **)&real = real_of(#name);                    \
        }                                                        \
        int given = writes && armed ? access & ~PROT_WRITE : access; \
        void *done = real(start, size, given, flags, fd, from);  \
        if (what == KILL_AFTER) {                                \
            die();                                               \
        }                                                        \
        if (done != MAP_FAILED && (writes || (flags & MAP_FIXED))) { \
            uintptr_t first = (uintptr_t)done;                   \
            pthread_mutex_lock(&lock);                           \
            forget(first, first + size);                         \
            if (writes) {                                        \
                keep(first, first + size);                       \
            }                                                    \
            pthread_mutex_unlock(&lock);                         \
        }                                                        \
        return done;                                             \
    }

MAP(mmap, off_t)
MAP(mmap64, off64_t)

int
munmap(void *start, size_t size)
{
    static int (*real)(void *, size_t);
    if (!real) {
        *(void **)&real = real_of("munmap");
    }
    pthread_mutex_lock(&lock);
    forget((uintptr_t)start, (uintptr_t)start + size);
    pthread_mutex_unlock(&lock);
    return real(start, size);
}

/* Handle the first store to a page that was kept read-only. */
static void
on_store(int number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < RANGES; i++) {
        if (ranges[i].start <= address && address < ranges[i].end) {
            fault_at("page"); /* a store cannot fail, so it is carried out */
            mprotect((void *)(address & ~(page - 1)), page, PROT_READ | PROT_WRITE);
            return;
        }
    }
    signal(number, SIG_DFL); /* a fault of the program: let it recur */
}

static void
protect(int access)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RANGES; i++) {
        if (ranges[i].end) {
            size_t size = ranges[i].end - ranges[i].start;
            mprotect((void *)ranges[i].start, size, access);
        }
    }
    pthread_mutex_unlock(&lock);
}

#endif
