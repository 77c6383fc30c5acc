# cython: language_level=3
"""The central directory of a package: a ZIP archive of the files of a store.

Opening a package reads and validates all of it, so this is done natively. Numbers in
parentheses are sections of PKWARE's APPNOTE.TXT 6.3.10, which specifies ZIP.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

cdef enum:
    RECORD = 46  # bytes of a record (4.3.12) without name, extra field and comment
    LOCAL = 30  # bytes of a local header (4.3.7) without name and extra field
    STORED = 0
    ZSTD = 93  # (4.4.5)
    UTF8 = 0x800  # of the flags (4.4.4); the others need what a package does not have
    UNIX = 3  # (4.4.2)
    FOLDER = 0x10
    TYPE = 0xF000  # of a Unix mode
    REGULAR = 0x8000
    ZIP64 = 1  # the extra field (4.5.3) of sizes and offsets of 4 GiB or more
    TOKEN = 8
    LEAST_DIGITS = 8  # of an id
    MOST_DIGITS = 19

cdef uint32_t SIGNATURE = 0x02014B50
cdef uint32_t LARGE = 0xFFFFFFFF  # the value is in the extra field
cdef int64_t LIMIT = <int64_t>1 << 62  # exclusive, of sizes and offsets


cdef struct Member:
    int64_t header  # offset of the local header
    int64_t end  # of the data
    int64_t size
    int64_t packed  # bytes of the data in the archive
    uint32_t crc
    uint16_t method
    uint16_t name_length


cdef class Directory:
    """The members of a package, which follow each other without gaps.

    The data of a member end where the next member, or the directory, begins. So no two members
    overlap, and local headers are not needed to find the data.

    Parameters
    ----------
    data : bytes
        The records.
    count : int
        Their number.
    start : int
        Offset of the directory in the archive.

    Attributes
    ----------
    is_compressed : bool
        Whether any member is.

    Raises
    ------
    ValueError
        It is not the directory of a package; the message says why.
    """

    cdef Member *_members
    cdef Py_ssize_t _count
    cdef dict _numbers  # by name
    cdef readonly bint is_compressed

    def __cinit__(self, bytes data not None, int64_t count, int64_t start):
        if count < 0 or count > PyBytes_GET_SIZE(data) // RECORD:
            raise ValueError(f"{len(data):,} bytes do not hold {count:,} records")
        self._members = <Member *>malloc(max(1, count) * sizeof(Member))
        if self._members == NULL:
            raise MemoryError
        self._numbers = {}
        self.read(<const unsigned char *>PyBytes_AS_STRING(data), len(data), count, start)

    def __dealloc__(self):
        free(self._members)

    def __len__(self):
        """Return the number of members."""
        return self._count

    def names(self):
        """Return the names of the members, in the order of the archive."""
        return list(self._numbers)

    def find(self, str name not None):
        """Return what is known of a member; None if there is none of the name.

        Returns
        -------
        tuple of int, or None
            The offset of its header, the offset of its data, their length, their length when
            they are not compressed, the method of compression, and the CRC-32.
        """
        cdef Member *member
        number = self._numbers.get(name)
        if number is None:
            return None
        member = self._members + <Py_ssize_t>number
        return (
            member.header,
            member.end - member.packed,
            member.packed,
            member.size,
            member.method,
            member.crc,
        )

    cdef int read(
        self, const unsigned char *data, Py_ssize_t length, int64_t count, int64_t start
    ) except -1:
        cdef Py_ssize_t at = 0, size
        cdef Member *member
        while self._count < count:
            member = self._members + self._count
            size = record(data + at, length - at, member)
            name = PyUnicode_DecodeASCII(
                <const char *>data + at + RECORD, member.name_length, NULL
            )
            if name in self._numbers:
                raise ValueError(f"two members are called {name}")
            if self._count:
                self.end_at(self._count - 1, member.header)
            if member.method != STORED:
                self.is_compressed = True
            self._numbers[name] = self._count
            self._count += 1
            at += size
        if at != length:
            raise ValueError(f"{length - at:,} bytes follow its records")
        if self._count:
            self.end_at(self._count - 1, start)
        return 0

    cdef int end_at(self, Py_ssize_t number, int64_t end) except -1:
        """Set the end of a member's data, which its header and its name precede."""
        cdef Member *member = self._members + number
        if member.header > end or member.packed > end - member.header - LOCAL - member.name_length:
            raise ValueError(f"member {number:,} overlaps the one after it")
        member.end = end
        return 0


cdef Py_ssize_t record(const unsigned char *data, Py_ssize_t length, Member *member) except -1:
    """Read and validate a record; return its length."""
    cdef Py_ssize_t size
    cdef uint16_t flags, extra
    if length < RECORD or u32(data) != SIGNATURE:
        raise ValueError("a record is missing")
    flags, member.method, member.crc = u16(data + 8), u16(data + 10), u32(data + 16)
    member.name_length, extra = u16(data + 28), u16(data + 30)
    size = RECORD + member.name_length + extra
    if size > length:
        raise ValueError("its last record is incomplete")
    if not is_name(<const char *>data + RECORD, member.name_length):
        text = data[RECORD : RECORD + min(80, member.name_length)]
        raise ValueError(f"{text!r} is the name of no file of a store")
    if is_special(u16(data + 4), u32(data + 38)):
        raise ValueError("a member is a link, a folder or a device")
    if flags & ~UTF8 or u16(data + 32) or u16(data + 34):
        raise ValueError("a member is encrypted, streamed, or has a comment")
    if member.method != STORED and member.method != ZSTD:
        raise ValueError(f"a member is compressed by the method {member.method}")
    read_sizes(data, extra, member)
    if member.method == STORED and member.size != member.packed:
        raise ValueError("a member that is not compressed has two sizes")
    return size


cdef int read_sizes(const unsigned char *data, uint16_t extra, Member *member) except -1:
    """Read sizes and offset, those in the extra field included."""
    cdef const unsigned char *at = data + RECORD + member.name_length
    cdef const unsigned char *end = at + extra
    cdef const unsigned char *large = NULL
    cdef const unsigned char *large_end = NULL
    while end - at >= 4:
        if u16(at + 2) > end - at - 4:
            raise ValueError("an extra field is incomplete")
        if u16(at) == ZIP64 and large == NULL:
            large, large_end = at + 4, at + 4 + u16(at + 2)
        at += 4 + u16(at + 2)
    member.size = number(u32(data + 24), &large, large_end)
    member.packed = number(u32(data + 20), &large, large_end)
    member.header = number(u32(data + 42), &large, large_end)
    return 0


cdef int64_t number(
    uint32_t value, const unsigned char **large, const unsigned char *large_end
) except -1:
    """Return a number, which is the next one of the extra field if it is large."""
    cdef uint64_t found = value
    if value == LARGE:
        if large[0] == NULL or large_end - large[0] < 8:
            raise ValueError("a size of 4 GiB or more is missing")
        found = u32(large[0]) | <uint64_t>u32(large[0] + 4) << 32
        large[0] += 8
    if found >= <uint64_t>LIMIT:
        raise ValueError(f"a size or an offset is {found:,}")
    return found


cdef bint is_special(uint16_t made_by, uint32_t attributes) noexcept:
    """Return whether a member is not a regular file."""
    cdef uint32_t kind = attributes >> 16 & TYPE
    return attributes & FOLDER or (made_by >> 8 == UNIX and kind and kind != REGULAR)


cdef bint is_name(const char *name, Py_ssize_t length) noexcept:
    """Return whether a name is one that a package may have."""
    cdef Py_ssize_t at, digits = length - 5 - 1 - TOKEN - 4
    if length == 11 and memcmp(name, b"commits.log", 11) == 0:
        return True
    if length == 12 and memcmp(name, b"numpack.json", 12) == 0:
        return True
    if digits < LEAST_DIGITS or digits > MOST_DIGITS or memcmp(name, b"data/", 5) != 0:
        return False
    for at in range(5, 5 + digits):
        if not c"0" <= name[at] <= c"9":
            return False
    if name[5 + digits] != c"-":
        return False
    for at in range(6 + digits, 6 + digits + TOKEN):
        if not (c"0" <= name[at] <= c"9" or c"a" <= name[at] <= c"f"):
            return False
    name += length - 4
    return memcmp(name, b".bin", 4) == 0 or memcmp(name, b".sum", 4) == 0


cdef inline uint16_t u16(const unsigned char *data) noexcept:
    return data[0] | data[1] << 8


cdef inline uint32_t u32(const unsigned char *data) noexcept:
    return u16(data) | <uint32_t>u16(data + 2) << 16
