/* Size, link count and identity of a file, without its times.
 *
 * Querying the modification time, as `fstat` does, makes the next write record it with a
 * resolution of nanoseconds (Linux 6.13 and later), which costs more than writing a line.
 */
#ifndef NUMPACK_STATUS_H
#define NUMPACK_STATUS_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif

typedef struct {
    int64_t size;
    uint64_t links, device, inode;
    int is_regular;
} numpack_status;

/* Query a name in a folder without following links, or, if the name is empty, the open file
 * itself. Returns 0, or -1 and sets errno. */
static inline int
numpack_stat(int descriptor, const char *name, numpack_status *found)
{
#if defined(__linux__) && defined(STATX_SIZE)
    struct statx extended;
    const int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    const unsigned mask = STATX_TYPE | STATX_SIZE | STATX_NLINK | STATX_INO;
    if (!statx(descriptor, name, flags, mask, &extended) &&
        (extended.stx_mask & mask) == mask) {
        found->size = (int64_t)extended.stx_size;
        found->links = extended.stx_nlink;
        found->device = makedev(extended.stx_dev_major, extended.stx_dev_minor);
        found->inode = extended.stx_ino;
        found->is_regular = S_ISREG(extended.stx_mode);
        return 0;
    } /* old kernels and some sandboxes do not support statx */
#endif
    struct stat status;
    int failed = *name ? fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW)
                       : fstat(descriptor, &status);
    if (failed < 0) {
        return -1;
    }
    found->size = (int64_t)status.st_size;
    found->links = status.st_nlink;
    found->device = status.st_dev;
    found->inode = status.st_ino;
    found->is_regular = S_ISREG(status.st_mode);
    return 0;
}

#endif
