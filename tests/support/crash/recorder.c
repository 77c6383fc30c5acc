/* A recorder of file changes, loaded before the C library (LD_PRELOAD): it intercepts each call that
 * changes a file or a folder, or flushes one to the device.
 *
 * Each event is written to a file: its kind, the inodes, and the bytes. Stores to pages mapped from a
 * file are not calls: at each call, such files are compared with their previous contents.
 *
 * Nothing is flushed to the device: no test cuts the power, and flushes are slow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAPPED = 64 };

struct event {
    uint32_t kind, first, second, unused; /* a letter; the lengths of the two parts that follow */
    uint64_t a, b;
};

struct mapped {
    uint64_t inode;
    int fd;
    char *known;
    off_t size;
};

static int record = -1;
static struct mapped files[MAPPED];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
put(const void *data, size_t size)
{
    const char *rest = data;
    while (size) {
        long done = syscall(SYS_write, record, rest, size);
        if (done <= 0) {
            abort();
        }
        rest += done;
        size -= (size_t)done;
    }
}

static void
emit(int kind, uint64_t a, uint64_t b, const void *first, size_t size, const char *second)
{
    struct event event = {(uint32_t)kind, (uint32_t)size, second ? (uint32_t)strlen(second) : 0,
                          0, a, b};
    put(&event, sizeof event);
    put(first, size);
    put(second, event.second);
}

static uint64_t
inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) ? 0 : status.st_ino;
}

/* Split a path into the folder and the name. */
static uint64_t
place_of(int folder, const char *path, char *name)
{
    char copy[PATH_MAX];
    struct stat status;
    strncpy(copy, path, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    strncpy(name, basename(copy), NAME_MAX);
    name[NAME_MAX] = 0;
    strncpy(copy, path, sizeof copy - 1);
    return fstatat(folder, dirname(copy), &status, 0) ? 0 : status.st_ino;
}

static uint64_t
inode_at(int folder, const char *path)
{
    struct stat status;
    return fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) ? 0 : status.st_ino;
}

/* Record stores to mapped pages since the last call. */
static void
look_at_maps(void)
{
    for (int i = 0; i < MAPPED && files[i].inode; i++) {
        struct mapped *file = &files[i];
        struct stat status;
        if (fstat(file->fd, &status)) {
            abort();
        }
        char *now = malloc((size_t)status.st_size + 1);
        if (syscall(SYS_pread64, file->fd, now, status.st_size, 0) != status.st_size) {
            abort();
        }
        if (file->size != status.st_size || memcmp(now, file->known, (size_t)file->size)) {
            emit('P', file->inode, 0, now, (size_t)status.st_size, NULL);
        }
        free(file->known);
        file->known = now;
        file->size = status.st_size;
    }
}

static int
begin(void)
{
    if (record < 0) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    look_at_maps();
    return 1;
}

static void
end(int begun)
{
    int error = errno;
    if (begun) {
        pthread_mutex_unlock(&lock);
    }
    errno = error;
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t at)
{
    int begun = begin();
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);
    if (begun && done > 0) {
        emit('W', inode_of(fd), (uint64_t)at, data, (size_t)done, NULL);
    }
    end(begun);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
    __attribute__((alias("pwrite")));

ssize_t
write(int fd, const void *data, size_t size)
{
    int begun = begin();
    off_t at = begun ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (begun && done > 0 && at >= 0) {
        emit('W', inode_of(fd), (uint64_t)at, data, (size_t)done, NULL);
    }
    end(begun);
    return done;
}

static int
sized(int fd, long done, int begun)
{
    struct stat status;
    if (begun && !done && !fstat(fd, &status)) {
        emit('T', status.st_ino, (uint64_t)status.st_size, NULL, 0, NULL);
    }
    end(begun);
    return (int)done;
}

int
ftruncate(int fd, off_t size)
{
    int begun = begin();
    return sized(fd, syscall(SYS_ftruncate, fd, size), begun);
}

int ftruncate64(int fd, off64_t size) __attribute__((alias("ftruncate")));

int
fallocate(int fd, int mode, off_t at, off_t size)
{
    int begun = begin();
    return sized(fd, syscall(SYS_fallocate, fd, mode, at, size), begun);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size) __attribute__((alias("fallocate")));

static int
opened(int folder, const char *path, int flags, mode_t mode)
{
    char name[NAME_MAX + 1];
    int begun = begin();
    int is_new = begun && (flags & O_CREAT) && !inode_at(folder, path);
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (begun && fd >= 0 && is_new) {
        uint64_t place = place_of(folder, path, name);
        emit('C', place, inode_of(fd), NULL, 0, name);
    } else if (begun && fd >= 0 && (flags & O_TRUNC)) {
        emit('T', inode_of(fd), 0, NULL, 0, NULL);
    }
    end(begun);
    return fd;
}

#define MODE(flags)                                                   \
    mode_t mode = 0;                                                  \
    if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) {  \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode = va_arg(rest, mode_t);                                  \
        va_end(rest);                                                 \
    }

int
openat(int folder, const char *path, int flags, ...)
{
    MODE(flags)
    return opened(folder, path, flags, mode);
}

int
openat64(int folder, const char *path, int flags, ...)
{
    MODE(flags)
    return opened(folder, path, flags, mode);
}

int
open(const char *path, int flags, ...)
{
    MODE(flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    MODE(flags)
    return opened(AT_FDCWD, path, flags, mode);
}

int
mkdirat(int folder, const char *path, mode_t mode)
{
    char name[NAME_MAX + 1];
    int begun = begin();
    int done = (int)syscall(SYS_mkdirat, folder, path, mode);
    if (begun && !done) {
        uint64_t place = place_of(folder, path, name);
        emit('M', place, inode_at(folder, path), NULL, 0, name);
    }
    end(begun);
    return done;
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int
unlinkat(int folder, const char *path, int flags)
{
    char name[NAME_MAX + 1];
    int begun = begin();
    int done = (int)syscall(SYS_unlinkat, folder, path, flags);
    if (begun && !done) {
        uint64_t place = place_of(folder, path, name);
        emit('U', place, 0, NULL, 0, name);
    }
    end(begun);
    return done;
}

int
unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int
linkat(int from, const char *old, int to, const char *new, int flags)
{
    char name[NAME_MAX + 1];
    int begun = begin();
    int done = (int)syscall(SYS_linkat, from, old, to, new, flags);
    if (begun && !done) {
        uint64_t place = place_of(to, new, name);
        emit('L', place, inode_at(to, new), NULL, 0, name);
    }
    end(begun);
    return done;
}

int
renameat(int from, const char *old, int to, const char *new)
{
    char name[NAME_MAX + 1], before[NAME_MAX + 1];
    int begun = begin();
    int done = (int)syscall(SYS_renameat2, from, old, to, new, 0);
    if (begun && !done) {
        place_of(from, old, before);
        uint64_t place = place_of(to, new, name);
        emit('R', place, inode_at(to, new), before, strlen(before), name);
    }
    end(begun);
    return done;
}

int
rename(const char *old, const char *new)
{
    return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

int
fsync(int fd)
{
    int begun = begin();
    if (begun) {
        emit('F', inode_of(fd), 0, NULL, 0, NULL);
    }
    end(begun);
    return 0;
}

int fdatasync(int fd) __attribute__((alias("fsync")));

void *
mmap(void *start, size_t size, int access, int flags, int fd, off_t from)
{
    int begun = fd >= 0 && (flags & MAP_SHARED) && (access & PROT_WRITE) && begin();
    void *done = (void *)syscall(SYS_mmap, start, size, access, flags, fd, from);
    uint64_t inode = begun ? inode_of(fd) : 0;
    for (int i = 0; inode && i < MAPPED && files[i].inode != inode; i++) {
        if (!files[i].inode) {
            files[i] = (struct mapped){inode, (int)syscall(SYS_dup, fd), NULL, -1};
            look_at_maps();
            break;
        }
    }
    end(begun);
    return done;
}

void *mmap64(void *start, size_t size, int access, int flags, int fd, off64_t from)
    __attribute__((alias("mmap")));

/* Start recording into a file, or stop if there is none. */
void
recorder_begin(int fd)
{
    record = fd;
}

/* Record an event that is not a system call. */
void
recorder_note(void)
{
    int begun = begin();
    if (begun) {
        emit('N', 0, 0, NULL, 0, NULL);
    }
    end(begun);
}
