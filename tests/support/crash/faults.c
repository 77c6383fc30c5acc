/* Fault injection, loaded before the C library (LD_PRELOAD): it intercepts each call that can change
 * a file or make a change durable, from Python and from native code.
 *
 * Calls are counted from `faults_arm` on; at a chosen one the process is killed, or the call fails.
 * Stores to pages mapped from a file are not calls: those pages are kept read-only while armed, and
 * the first store to each counts as one more call, `page`.
 *
 * Nothing is flushed to the device: no test cuts the power, and flushes are slow.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault {
    NONE,
    KILL_BEFORE,
    KILL_HALF,  /* of a write */
    KILL_AFTER,
    FAIL,       /* this call alone */
    FULL,       /* half a write; from then on every call that needs disk space fails */
};

enum { EVENTS = 4096, RANGES = 256 };

typedef struct {
    uintptr_t start, end;
} range;

static volatile int armed;
static long counted, at;
static int kind, error_number, fired;
static const char *names[EVENTS];
static range ranges[RANGES]; /* shared writable mappings of files */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) {
        pause();
    }
}

/* Count a call; return the fault to inject. */
static int
fault_at(const char *name)
{
    if (!armed) {
        return NONE;
    }
    long number = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    if (number <= EVENTS) {
        names[number - 1] = name;
    }
    if (number == at) {
        fired = 1;
        if (kind == KILL_BEFORE) {
            die();
        }
        return kind;
    }
    return at && number > at && kind == FULL ? FULL : NONE;
}

static void *
real_of(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static int
failed(void)
{
    errno = error_number;
    return -1;
}

/* A call that is passed on; `room`: whether it needs disk space. */
#define PASS(type, name, parameters, arguments, room)            \
    type name parameters                                         \
    {                                                            \
        static type(*real) parameters;                           \
        int what = fault_at(#name);                                \
        if (what == FAIL || (what == FULL && (room))) {          \
            return failed();                                     \
        }                                                        \
        if (!real) {                                             \
            *(void **)&real = real_of(#name);                    \
        }                                                        \
        type done = real arguments;                              \
        if (what == KILL_AFTER) {                                \
            die();                                               \
        }                                                        \
        return done;                                             \
    }

PASS(int, ftruncate, (int fd, off_t size), (fd, size), 0)
PASS(int, ftruncate64, (int fd, off64_t size), (fd, size), 0)
PASS(int, truncate, (const char *path, off_t size), (path, size), 0)
PASS(int, truncate64, (const char *path, off64_t size), (path, size), 0)
PASS(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), 1)
PASS(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size), 1)
PASS(int, rename, (const char *old, const char *new), (old, new), 0)
PASS(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), 0)
PASS(int, renameat2, (int from, const char *old, int to, const char *new, unsigned flags),
     (from, old, to, new, flags), 0)
PASS(int, unlink, (const char *path), (path), 0)
PASS(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), 0)
PASS(int, remove, (const char *path), (path), 0)
PASS(int, rmdir, (const char *path), (path), 0)
PASS(int, link, (const char *old, const char *new), (old, new), 1)
PASS(int, linkat, (int from, const char *old, int to, const char *new, int flags),
     (from, old, to, new, flags), 1)
PASS(int, symlink, (const char *old, const char *new), (old, new), 1)
PASS(int, symlinkat, (const char *old, int to, const char *new), (old, to, new), 1)
PASS(int, mkdir, (const char *path, mode_t mode), (path, mode), 1)
PASS(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), 1)
PASS(int, creat, (const char *path, mode_t mode), (path, mode), 1)
PASS(int, creat64, (const char *path, mode_t mode), (path, mode), 1)
PASS(int, flock, (int fd, int operation), (fd, operation), 0)
PASS(int, msync, (void *start, size_t size, int flags), (start, size, flags), 0)
PASS(int, sync_file_range, (int fd, off64_t at, off64_t size, unsigned flags),
     (fd, at, size, flags), 0)
PASS(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), 1)
PASS(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at),
     (fd, parts, count, at), 1)
PASS(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t at),
     (fd, parts, count, at), 1)
PASS(ssize_t, pwritev2, (int fd, const struct iovec *parts, int count, off_t at, int flags),
     (fd, parts, count, at, flags), 1)
PASS(ssize_t, pwritev64v2, (int fd, const struct iovec *parts, int count, off64_t at, int flags),
     (fd, parts, count, at, flags), 1)
PASS(ssize_t, sendfile, (int out, int in, off_t *at, size_t size), (out, in, at, size), 1)
PASS(ssize_t, sendfile64, (int out, int in, off64_t *at, size_t size), (out, in, at, size), 1)
PASS(ssize_t, copy_file_range,
     (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags),
     (in, from, out, to, size, flags), 1)
PASS(ssize_t, splice, (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags),
     (in, from, out, to, size, flags), 1)

/* posix_fallocate returns its error instead of setting errno. */
#define RESERVE(name, offset)                                    \
    int name(int fd, offset start, offset size)                  \
    {                                                            \
        static int (*real)(int, offset, offset);                 \
        int what = fault_at(#name);                                \
        if (what == FAIL || what == FULL) {                      \
            return error_number;                                 \
        }                                                        \
        if (!real) {                                             \
            *(void **)&real = real_of(#name);                    \
        }                                                        \
        int done = real(fd, start, size);                        \
        if (what == KILL_AFTER) {                                \
            die();                                               \
        }                                                        \
        return done;                                             \
    }

RESERVE(posix_fallocate, off_t)
RESERVE(posix_fallocate64, off64_t)

#define FLUSH(name)                                              \
    int name(int fd)                                             \
    {                                                            \
        (void)fd;                                                \
        int what = fault_at(#name);                                \
        if (what == KILL_AFTER) {                                \
            die();                                               \
        }                                                        \
        return what == FAIL ? failed() : 0;                      \
    }

FLUSH(fsync)
FLUSH(fdatasync)

static int
is_open_for_writing(int fd)
{
    long flags = syscall(SYS_fcntl, fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/* As in the kernel, the descriptor is closed even if an error is returned. */
int
close(int fd)
{
    static int (*real)(int);
    int what = armed && is_open_for_writing(fd) ? fault_at("close") : NONE;
    if (!real) {
        *(void **)&real = real_of("close");
    }
    int done = real(fd);
    if (what == KILL_AFTER) {
        die();
    }
    return what == FAIL ? failed() : done;
}

/* ---- writes, which can be partial ---- */

/* The kernel checks for signals between two pages: a write within one page over existing bytes is
 * never interrupted by a kill. */
static int
is_cut(int fd, off64_t start, size_t size)
{
    struct stat status;
    off64_t page = sysconf(_SC_PAGESIZE), end = start + (off64_t)size;
    return fstat(fd, &status) || end > status.st_size || start / page != (end - 1) / page;
}

#define WRITE(name, parameters, half, all, start)                \
    ssize_t name parameters                                      \
    {                                                            \
        static ssize_t(*real) parameters;                        \
        int what = fault_at(#name);                                \
        if (!real) {                                             \
            *(void **)&real = real_of(#name);                    \
        }                                                        \
        int first = counted == at;                               \
        if (what == FAIL || (what == FULL && (!first || size < 2))) { \
            return failed();                                     \
        }                                                        \
        int cut = what == FULL || (what == KILL_HALF && is_cut(fd, start, size)); \
        ssize_t done = cut ? real half : real all;               \
        if (what == KILL_HALF || what == KILL_AFTER) {           \
            die();                                               \
        }                                                        \
        return done;                                             \
    }

WRITE(write, (int fd, const void *data, size_t size), (fd, data, size / 2), (fd, data, size),
      lseek64(fd, 0, SEEK_CUR))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at_byte),
      (fd, data, size / 2, at_byte), (fd, data, size, at_byte), at_byte)
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at_byte),
      (fd, data, size / 2, at_byte), (fd, data, size, at_byte), at_byte)

/* ---- opening for writing or creating; not for reading ---- */

#define IS_MADE(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)

/* On a full disk no file can be created, but existing ones can be opened. */
static int
can_be_opened(int folder, const char *path, int flags)
{
    return !(flags & O_CREAT) || faccessat(folder, path, F_OK, 0) == 0;
}

#define OPEN(name, parameters, arguments, folder)                \
    int name parameters                                          \
    {                                                            \
        static int(*real) parameters;                            \
        mode_t mode = 0;                                         \
        if (IS_MADE(flags)) {                                    \
            va_list rest;                                        \
            va_start(rest, flags);                               \
            mode = va_arg(rest, mode_t);                         \
            va_end(rest);                                        \
        }                                                        \
        int reads = (flags & O_ACCMODE) == O_RDONLY && !IS_MADE(flags); \
        int what = reads ? NONE : fault_at(#name);                 \
        if (what == FAIL || (what == FULL && !can_be_opened(folder, path, flags))) { \
            return failed();                                     \
        }                                                        \
        if (!real) {                                             \
            *(void **)&real = real_of(#name);                    \
        }                                                        \
        int done = real arguments;                               \
        if (what == KILL_AFTER) {                                \
            die();                                               \
        }                                                        \
        return done;                                             \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), folder)
OPEN(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), folder)

#define CONTROL(name)                                            \
    int name(int fd, int command, ...)                           \
    {                                                            \
        static int (*real)(int, int, ...);                       \
        va_list rest;                                            \
        va_start(rest, command);                                 \
        void *argument = va_arg(rest, void *);                   \
        va_end(rest);                                            \
        int locks = command == F_SETLK || command == F_SETLKW || \
                    command == F_OFD_SETLK || command == F_OFD_SETLKW; \
        int what = locks ? fault_at(#name) : NONE;                 \
        if (what == FAIL) {                                      \
            return failed();                                     \
        }                                                        \
        if (!real) {                                             \
            *(void **)&real = real_of(#name);                    \
        }                                                        \
        int done = real(fd, command, argument);                  \
        if (what == KILL_AFTER) {                                \
            die();                                               \
        }                                                        \
        return done;                                             \
    }

CONTROL(fcntl)
CONTROL(fcntl64)

#include "mapped_pages.h"

/* ---- control ---- */

/* Count calls from now on, and inject a fault into one; none if `number` is 0. */
void
faults_arm(long number, int what, int error)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_store;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    protect(PROT_READ);
    counted = fired = 0;
    at = number;
    kind = what;
    error_number = error;
    armed = 1;
}

/* Stop counting; return whether the chosen call was made. */
int
faults_disarm(void)
{
    armed = 0;
    protect(PROT_READ | PROT_WRITE);
    return fired;
}

long
faults_counted(void)
{
    return counted;
}

const char *
faults_name(long number)
{
    return names[number];
}
