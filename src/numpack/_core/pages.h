#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef NUMPACK_PAGES_H
#define NUMPACK_PAGES_H

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* `struct procmap_query` of Linux 6.11 (include/uapi/linux/fs.h), which the installed headers may
 * lack. */
struct numpack_mapping {
    uint64_t size, query_flags, query_addr;
    uint64_t start, end, flags, page_size, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
};

#ifdef __linux__
#include <sys/ioctl.h>
#include <sys/vfs.h>

/* Find the first mapping that ends after an address, using PROCMAP_QUERY on an open
 * /proc/self/maps. Return 1 if found, 0 if there is none, -1 if the kernel lacks the query. */
static inline int
numpack_mapping_at(
    int maps, uint64_t address, struct numpack_mapping *found, char *name, uint32_t room)
{
    memset(found, 0, sizeof(*found));
    found->size = sizeof(*found);
    found->query_flags = 0x10; /* PROCMAP_QUERY_COVERING_OR_NEXT_VMA */
    found->query_addr = address;
    found->name_size = room;
    found->name = room > 0 ? (uintptr_t)name : 0;
    name[0] = 0;
    if (ioctl(maps, _IOWR('f', 17, struct numpack_mapping), found) == 0) {
        return 1;
    }
    return errno == ENOENT ? 0 : -1;
}

/* An open /proc/self/maps, whose opening costs more than a query; -1 before the first one. A child
 * process opens its own, since a descriptor lists the mappings of the process that opened it. */
static int numpack_maps = -1;

static inline void
numpack_forget_maps(void)
{
    if (numpack_maps >= 0) {
        close(numpack_maps);
    }
    numpack_maps = -1;
}

/* Find a mapping as numpack_mapping_at does. If the query fails, whoever closes all descriptors of
 * the process may have closed this one, and its number may be another file's by now: it is opened
 * again, and not closed. */
static inline int
numpack_own_mapping_at(uint64_t address, struct numpack_mapping *found, char *name, uint32_t room)
{
    int status = -1;
    if (numpack_maps >= 0) {
        status = numpack_mapping_at(numpack_maps, address, found, name, room);
    }
    if (status < 0) {
        numpack_maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        if (numpack_maps >= 0) {
            status = numpack_mapping_at(numpack_maps, address, found, name, room);
            if (status < 0) {
                numpack_forget_maps();
            }
        }
    }
    return status;
}

/* Return 1 if all pages of a range are writable, 0 if one is not or is not mapped, -1 if the
 * kernel lacks the query. */
static inline int
numpack_is_writable(uint64_t lowest, uint64_t beyond)
{
    struct numpack_mapping found;
    char name[1];
    while (lowest < beyond) {
        int status = numpack_own_mapping_at(lowest, &found, name, 0);
        if (status < 0) {
            return -1;
        }
        if (status == 0 || found.start > lowest || !(found.flags & 2)) {
            return 0;
        }
        lowest = found.end;
    }
    return 1;
}

/* The magic numbers of statfs(2) are those of ext2 to ext4 and of tmpfs. Other file systems (xfs,
 * btrfs, overlay, network) may copy a block on write, or report a full disk later. */
static inline int
numpack_is_written_in_place(int descriptor)
{
    struct statfs status;
    if (fstatfs(descriptor, &status) != 0) {
        return 0;
    }
    return status.f_type == 0xEF53 || status.f_type == 0x01021994;
}

/* Whether reading a mapped page may allocate memory: tmpfs allocates a page for a hole that is
 * read through a mapping, but not for one that is read by a system call. */
static inline int
numpack_reading_may_allocate(int descriptor, const struct stat *status, int64_t length)
{
    struct statfs system;
    return (int64_t)status->st_blocks * 512 < length && fstatfs(descriptor, &system) == 0 &&
           system.f_type == 0x01021994;
}

/* Return the offset of the first hole of a file from an offset on; the end of the file if there
 * is none; -1 if the file system cannot report holes. */
static inline int64_t
numpack_first_hole(int descriptor, int64_t offset)
{
    return lseek(descriptor, offset, SEEK_HOLE);
}

/* Allocate the blocks of a range of a file without changing its size. Return 0 or errno. */
static inline int
numpack_allocate(int descriptor, int64_t offset, int64_t length)
{
    int result;
    do {
        result = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, length);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? errno : 0;
}
#else
static inline void
numpack_forget_maps(void)
{
}

static inline int
numpack_is_writable(uint64_t lowest, uint64_t beyond)
{
    (void)lowest, (void)beyond;
    return -1;
}

static inline int
numpack_own_mapping_at(uint64_t address, struct numpack_mapping *found, char *name, uint32_t room)
{
    (void)address, (void)found, (void)name, (void)room;
    return -1;
}

static inline int
numpack_mapping_at(
    int maps, uint64_t address, struct numpack_mapping *found, char *name, uint32_t room)
{
    (void)maps, (void)address, (void)found, (void)name, (void)room;
    return -1;
}

static inline int
numpack_is_written_in_place(int descriptor)
{
    (void)descriptor;
    return 0;
}

static inline int
numpack_reading_may_allocate(int descriptor, const struct stat *status, int64_t length)
{
    (void)descriptor, (void)status, (void)length;
    return 0;
}

static inline int64_t
numpack_first_hole(int descriptor, int64_t offset)
{
    (void)descriptor, (void)offset;
    return -1;
}

static inline int
numpack_allocate(int descriptor, int64_t offset, int64_t length)
{
    (void)descriptor, (void)offset, (void)length;
    return EOPNOTSUPP;
}
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* Whether an entry of /proc/self/pagemap is a page that differs from its file: bit 63 page
 * present, 62 swapped, 61 file-mapped (Linux, admin-guide/mm/pagemap). */
static inline int
numpack_is_modified(uint64_t entry)
{
    return (entry >> 62) != 0 && !(entry >> 61 & 1);
}

/* Map a file for reading: private, which any file system supports, and without write permission,
 * so that the pages are always those of the file. */
static inline void *
numpack_map_readable(size_t length, int descriptor)
{
    void *found = mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    return found == MAP_FAILED ? NULL : found;
}

static inline void *
numpack_map_shared(size_t length, int descriptor)
{
    void *found = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return found == MAP_FAILED ? NULL : found;
}

/* Map a file copy-on-write. Without MAP_NORESERVE, the size of the file would count against the
 * memory commit limit (proc(5), vm.overcommit_memory). Where the kernel never overcommits, fall
 * back to a mapping without write permission, which needs no commitment. */
static inline void *
numpack_map_private(void *address, size_t length, int descriptor)
{
    int flags = MAP_PRIVATE | MAP_NORESERVE | (address == NULL ? 0 : MAP_FIXED);
    void *found = mmap(address, length, PROT_READ | PROT_WRITE, flags, descriptor, 0);
    if (found == MAP_FAILED && address == NULL) {
        found = mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    return found == MAP_FAILED ? NULL : found;
}

#endif
