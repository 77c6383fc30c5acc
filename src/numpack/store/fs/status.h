/* Size, names and identity of a file, without its times.
 *
 * Who asks for the time of the last change makes the next write keep it to the nanosecond
 * (Linux 6.13 and later), which costs more than the write of a line. `fstat` asks for it.
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
    uint64_t names, device, inode;
    int is_regular;
} numpack_status;

/* Look at what has a name in a folder, following no link; -1 and errno if that fails. With an
 * empty name, look at the open file itself. */
static inline int
numpack_look(int descriptor, const char *name, numpack_status *found)
{
#if defined(__linux__) && defined(STATX_SIZE)
    struct statx told;
    const int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    const unsigned asked = STATX_TYPE | STATX_SIZE | STATX_NLINK | STATX_INO;
    if (!statx(descriptor, name, flags, asked, &told) && (told.stx_mask & asked) == asked) {
        found->size = (int64_t)told.stx_size;
        found->names = told.stx_nlink;
        found->device = makedev(told.stx_dev_major, told.stx_dev_minor);
        found->inode = told.stx_ino;
        found->is_regular = S_ISREG(told.stx_mode);
        return 0;
    } /* an old kernel, or a sandbox, has no such call */
#endif
    struct stat status;
    int failed = *name ? fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW)
                       : fstat(descriptor, &status);
    if (failed < 0) {
        return -1;
    }
    found->size = (int64_t)status.st_size;
    found->names = status.st_nlink;
    found->device = status.st_dev;
    found->inode = status.st_ino;
    found->is_regular = S_ISREG(status.st_mode);
    return 0;
}

#endif
