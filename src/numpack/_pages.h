#ifndef NUMPACK_PAGES_H
#define NUMPACK_PAGES_H

#include <sys/mman.h>
#include <sys/stat.h>

#ifdef __linux__
#include <sys/vfs.h>

/* The numbers of statfs(2): ext2 to ext4, and tmpfs. Others (xfs, btrfs, overlays, networks)
 * may copy a block on writing, or say later that there is no room. */
static int
numpack_is_written_in_place(int descriptor)
{
    struct statfs status;
    if (fstatfs(descriptor, &status) != 0) {
        return 0;
    }
    return status.f_type == 0xEF53 || status.f_type == 0x01021994;
}
#else
static int
numpack_is_written_in_place(int descriptor)
{
    (void)descriptor;
    return 0;
}
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* Pages of the file until they are written. Without MAP_NORESERVE the size of the file would
 * count against the memory of the machine (proc(5), vm.overcommit_memory); where nothing is
 * ever overcommitted, a mapping that cannot be written takes none. */
static void *
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
