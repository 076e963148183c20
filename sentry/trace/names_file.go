package trace

import "golang.org/x/sys/unix"

var openBits = set{"O_???", []flag{
	{unix.O_CREAT, "O_CREAT"},
	{unix.O_EXCL, "O_EXCL"},
	{unix.O_NOCTTY, "O_NOCTTY"},
	{unix.O_TRUNC, "O_TRUNC"},
	{unix.O_APPEND, "O_APPEND"},
	{unix.O_NONBLOCK, "O_NONBLOCK"},
	{unix.O_SYNC, "O_SYNC"},
	{unix.O_DSYNC, "O_DSYNC"},
	{0o20000, "O_ASYNC"},
	{unix.O_DIRECT, "O_DIRECT"},
	{0o100000, "O_LARGEFILE"},
	{unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_NOATIME, "O_NOATIME"},
	{unix.O_CLOEXEC, "O_CLOEXEC"},
	{unix.O_PATH, "O_PATH"},
	{unix.O_TMPFILE, "O_TMPFILE"},
	{unix.O_DIRECTORY, "O_DIRECTORY"},
}}

var fileTypes = set{"S_IF???", []flag{
	{unix.S_IFREG, "S_IFREG"},
	{unix.S_IFSOCK, "S_IFSOCK"},
	{unix.S_IFIFO, "S_IFIFO"},
	{unix.S_IFLNK, "S_IFLNK"},
	{unix.S_IFDIR, "S_IFDIR"},
	{unix.S_IFBLK, "S_IFBLK"},
	{unix.S_IFCHR, "S_IFCHR"},
}}

var modeBits = set{"", []flag{
	{unix.S_ISUID, "S_ISUID"},
	{unix.S_ISGID, "S_ISGID"},
	{unix.S_ISVTX, "S_ISVTX"},
}}

var atBits = set{"AT_???", []flag{
	{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	{unix.AT_REMOVEDIR, "AT_REMOVEDIR"},
	{unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"},
	{unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
	{unix.AT_RECURSIVE, "AT_RECURSIVE"},
}}

// accessBits: bit 0x200 is AT_REMOVEDIR elsewhere.
var accessBits = set{"AT_???", []flag{
	{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	{unix.AT_EACCESS, "AT_EACCESS"},
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
}}

var accessModes = set{"?_OK", []flag{
	{0, "F_OK"},
	{unix.R_OK, "R_OK"},
	{unix.W_OK, "W_OK"},
	{unix.X_OK, "X_OK"},
}}

var whences = set{"SEEK_???", []flag{
	{unix.SEEK_SET, "SEEK_SET"},
	{unix.SEEK_CUR, "SEEK_CUR"},
	{unix.SEEK_END, "SEEK_END"},
	{unix.SEEK_DATA, "SEEK_DATA"},
	{unix.SEEK_HOLE, "SEEK_HOLE"},
}}

var statxBits = set{"STATX_???", []flag{
	{unix.STATX_ALL, "STATX_ALL"},
	{unix.STATX_BASIC_STATS, "STATX_BASIC_STATS"},
	{unix.STATX_TYPE, "STATX_TYPE"},
	{unix.STATX_MODE, "STATX_MODE"},
	{unix.STATX_NLINK, "STATX_NLINK"},
	{unix.STATX_UID, "STATX_UID"},
	{unix.STATX_GID, "STATX_GID"},
	{unix.STATX_ATIME, "STATX_ATIME"},
	{unix.STATX_MTIME, "STATX_MTIME"},
	{unix.STATX_CTIME, "STATX_CTIME"},
	{unix.STATX_INO, "STATX_INO"},
	{unix.STATX_SIZE, "STATX_SIZE"},
	{unix.STATX_BLOCKS, "STATX_BLOCKS"},
	{unix.STATX_BTIME, "STATX_BTIME"},
	{unix.STATX_MNT_ID, "STATX_MNT_ID"},
	{unix.STATX_DIOALIGN, "STATX_DIOALIGN"},
}}

var statxSync = set{"AT_STATX_???", []flag{
	{unix.AT_STATX_SYNC_AS_STAT, "AT_STATX_SYNC_AS_STAT"},
	{unix.AT_STATX_FORCE_SYNC, "AT_STATX_FORCE_SYNC"},
	{unix.AT_STATX_DONT_SYNC, "AT_STATX_DONT_SYNC"},
}}

var statxAttributes = set{"STATX_ATTR_???", []flag{
	{unix.STATX_ATTR_COMPRESSED, "STATX_ATTR_COMPRESSED"},
	{unix.STATX_ATTR_IMMUTABLE, "STATX_ATTR_IMMUTABLE"},
	{unix.STATX_ATTR_APPEND, "STATX_ATTR_APPEND"},
	{unix.STATX_ATTR_NODUMP, "STATX_ATTR_NODUMP"},
	{unix.STATX_ATTR_ENCRYPTED, "STATX_ATTR_ENCRYPTED"},
	{unix.STATX_ATTR_AUTOMOUNT, "STATX_ATTR_AUTOMOUNT"},
	{unix.STATX_ATTR_MOUNT_ROOT, "STATX_ATTR_MOUNT_ROOT"},
	{unix.STATX_ATTR_VERITY, "STATX_ATTR_VERITY"},
	{unix.STATX_ATTR_DAX, "STATX_ATTR_DAX"},
}}

var fsMagics = set{"???", []flag{
	{unix.EXT4_SUPER_MAGIC, "EXT2_SUPER_MAGIC"},
	{unix.TMPFS_MAGIC, "TMPFS_MAGIC"},
	{unix.PROC_SUPER_MAGIC, "PROC_SUPER_MAGIC"},
	{unix.SYSFS_MAGIC, "SYSFS_MAGIC"},
	{unix.DEVPTS_SUPER_MAGIC, "DEVPTS_SUPER_MAGIC"},
	{unix.OVERLAYFS_SUPER_MAGIC, "OVERLAYFS_SUPER_MAGIC"},
	{unix.PIPEFS_MAGIC, "PIPEFS_MAGIC"},
	{unix.SOCKFS_MAGIC, "SOCKFS_MAGIC"},
	{unix.ANON_INODE_FS_MAGIC, "ANON_INODE_FS_MAGIC"},
	{unix.RAMFS_MAGIC, "RAMFS_MAGIC"},
	{unix.CGROUP2_SUPER_MAGIC, "CGROUP2_SUPER_MAGIC"},
	{unix.BTRFS_SUPER_MAGIC, "BTRFS_SUPER_MAGIC"},
	{unix.XFS_SUPER_MAGIC, "XFS_SUPER_MAGIC"},
}}

var fsFlags = set{"ST_???", []flag{
	{0x20, "ST_VALID"},
	{unix.ST_RDONLY, "ST_RDONLY"},
	{unix.ST_NOSUID, "ST_NOSUID"},
	{unix.ST_NODEV, "ST_NODEV"},
	{unix.ST_NOEXEC, "ST_NOEXEC"},
	{unix.ST_SYNCHRONOUS, "ST_SYNCHRONOUS"},
	{unix.ST_MANDLOCK, "ST_MANDLOCK"},
	{unix.ST_NOATIME, "ST_NOATIME"},
	{unix.ST_NODIRATIME, "ST_NODIRATIME"},
	{unix.ST_RELATIME, "ST_RELATIME"},
}}

var fcntlCommands = set{"F_???", []flag{
	{unix.F_DUPFD, "F_DUPFD"},
	{unix.F_GETFD, "F_GETFD"},
	{unix.F_SETFD, "F_SETFD"},
	{unix.F_GETFL, "F_GETFL"},
	{unix.F_SETFL, "F_SETFL"},
	{unix.F_GETLK, "F_GETLK"},
	{unix.F_SETLK, "F_SETLK"},
	{unix.F_SETLKW, "F_SETLKW"},
	{unix.F_SETOWN, "F_SETOWN"},
	{unix.F_GETOWN, "F_GETOWN"},
	{unix.F_SETSIG, "F_SETSIG"},
	{unix.F_GETSIG, "F_GETSIG"},
	{unix.F_SETOWN_EX, "F_SETOWN_EX"},
	{unix.F_GETOWN_EX, "F_GETOWN_EX"},
	{unix.F_OFD_GETLK, "F_OFD_GETLK"},
	{unix.F_OFD_SETLK, "F_OFD_SETLK"},
	{unix.F_OFD_SETLKW, "F_OFD_SETLKW"},
	{unix.F_SETLEASE, "F_SETLEASE"},
	{unix.F_GETLEASE, "F_GETLEASE"},
	{unix.F_NOTIFY, "F_NOTIFY"},
	{unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"},
	{unix.F_SETPIPE_SZ, "F_SETPIPE_SZ"},
	{unix.F_GETPIPE_SZ, "F_GETPIPE_SZ"},
	{unix.F_ADD_SEALS, "F_ADD_SEALS"},
	{unix.F_GET_SEALS, "F_GET_SEALS"},
	{unix.F_GET_RW_HINT, "F_GET_RW_HINT"},
	{unix.F_SET_RW_HINT, "F_SET_RW_HINT"},
}}

var fdBits = set{"FD_???", []flag{{unix.FD_CLOEXEC, "FD_CLOEXEC"}}}

var seals = set{"F_SEAL_???", []flag{
	{unix.F_SEAL_SEAL, "F_SEAL_SEAL"},
	{unix.F_SEAL_SHRINK, "F_SEAL_SHRINK"},
	{unix.F_SEAL_GROW, "F_SEAL_GROW"},
	{unix.F_SEAL_WRITE, "F_SEAL_WRITE"},
	{unix.F_SEAL_FUTURE_WRITE, "F_SEAL_FUTURE_WRITE"},
}}

var lockTypes = set{"F_???", []flag{
	{unix.F_RDLCK, "F_RDLCK"},
	{unix.F_WRLCK, "F_WRLCK"},
	{unix.F_UNLCK, "F_UNLCK"},
}}

var flockOperations = set{"LOCK_???", []flag{
	{unix.LOCK_SH, "LOCK_SH"},
	{unix.LOCK_EX, "LOCK_EX"},
	{unix.LOCK_NB, "LOCK_NB"},
	{unix.LOCK_UN, "LOCK_UN"},
}}

var fallocateModes = set{"FALLOC_FL_???", []flag{
	{unix.FALLOC_FL_KEEP_SIZE, "FALLOC_FL_KEEP_SIZE"},
	{unix.FALLOC_FL_PUNCH_HOLE, "FALLOC_FL_PUNCH_HOLE"},
	{4, "FALLOC_FL_NO_HIDE_STALE"},
	{unix.FALLOC_FL_COLLAPSE_RANGE, "FALLOC_FL_COLLAPSE_RANGE"},
	{unix.FALLOC_FL_ZERO_RANGE, "FALLOC_FL_ZERO_RANGE"},
	{unix.FALLOC_FL_INSERT_RANGE, "FALLOC_FL_INSERT_RANGE"},
	{unix.FALLOC_FL_UNSHARE_RANGE, "FALLOC_FL_UNSHARE_RANGE"},
}}

var fadvices = set{"POSIX_FADV_???", []flag{
	{unix.FADV_NORMAL, "POSIX_FADV_NORMAL"},
	{unix.FADV_RANDOM, "POSIX_FADV_RANDOM"},
	{unix.FADV_SEQUENTIAL, "POSIX_FADV_SEQUENTIAL"},
	{unix.FADV_WILLNEED, "POSIX_FADV_WILLNEED"},
	{unix.FADV_DONTNEED, "POSIX_FADV_DONTNEED"},
	{unix.FADV_NOREUSE, "POSIX_FADV_NOREUSE"},
}}

var renameBits = set{"RENAME_??", []flag{
	{unix.RENAME_NOREPLACE, "RENAME_NOREPLACE"},
	{unix.RENAME_EXCHANGE, "RENAME_EXCHANGE"},
	{unix.RENAME_WHITEOUT, "RENAME_WHITEOUT"},
}}

var xattrBits = set{"XATTR_???", []flag{
	{unix.XATTR_CREATE, "XATTR_CREATE"},
	{unix.XATTR_REPLACE, "XATTR_REPLACE"},
}}

var rwfBits = set{"RWF_???", []flag{
	{unix.RWF_HIPRI, "RWF_HIPRI"},
	{unix.RWF_DSYNC, "RWF_DSYNC"},
	{unix.RWF_SYNC, "RWF_SYNC"},
	{unix.RWF_NOWAIT, "RWF_NOWAIT"},
	{unix.RWF_APPEND, "RWF_APPEND"},
}}

var resolveBits = set{"RESOLVE_???", []flag{
	{unix.RESOLVE_NO_XDEV, "RESOLVE_NO_XDEV"},
	{unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"},
	{unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"},
	{unix.RESOLVE_BENEATH, "RESOLVE_BENEATH"},
	{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"},
	{0x20, "RESOLVE_CACHED"},
}}

var spliceBits = set{"SPLICE_F_???", []flag{
	{unix.SPLICE_F_MOVE, "SPLICE_F_MOVE"},
	{unix.SPLICE_F_NONBLOCK, "SPLICE_F_NONBLOCK"},
	{unix.SPLICE_F_MORE, "SPLICE_F_MORE"},
	{unix.SPLICE_F_GIFT, "SPLICE_F_GIFT"},
}}

var syncRangeBits = set{"SYNC_FILE_RANGE_???", []flag{
	{unix.SYNC_FILE_RANGE_WAIT_BEFORE, "SYNC_FILE_RANGE_WAIT_BEFORE"},
	{unix.SYNC_FILE_RANGE_WRITE, "SYNC_FILE_RANGE_WRITE"},
	{unix.SYNC_FILE_RANGE_WAIT_AFTER, "SYNC_FILE_RANGE_WAIT_AFTER"},
}}

var memfdBits = set{"MFD_???", []flag{
	{unix.MFD_CLOEXEC, "MFD_CLOEXEC"},
	{unix.MFD_ALLOW_SEALING, "MFD_ALLOW_SEALING"},
	{unix.MFD_HUGETLB, "MFD_HUGETLB"},
	{unix.MFD_NOEXEC_SEAL, "MFD_NOEXEC_SEAL"},
	{unix.MFD_EXEC, "MFD_EXEC"},
}}

var closeRangeBits = set{"CLOSE_RANGE_???", []flag{
	{unix.CLOSE_RANGE_UNSHARE, "CLOSE_RANGE_UNSHARE"},
	{unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"},
}}

var mountBits = set{"MS_???", []flag{
	{unix.MS_RDONLY, "MS_RDONLY"},
	{unix.MS_NOSUID, "MS_NOSUID"},
	{unix.MS_NODEV, "MS_NODEV"},
	{unix.MS_NOEXEC, "MS_NOEXEC"},
	{unix.MS_SYNCHRONOUS, "MS_SYNCHRONOUS"},
	{unix.MS_REMOUNT, "MS_REMOUNT"},
	{unix.MS_MANDLOCK, "MS_MANDLOCK"},
	{unix.MS_DIRSYNC, "MS_DIRSYNC"},
	{unix.MS_NOATIME, "MS_NOATIME"},
	{unix.MS_NODIRATIME, "MS_NODIRATIME"},
	{unix.MS_BIND, "MS_BIND"},
	{unix.MS_MOVE, "MS_MOVE"},
	{unix.MS_REC, "MS_REC"},
	{unix.MS_SILENT, "MS_SILENT"},
	{unix.MS_UNBINDABLE, "MS_UNBINDABLE"},
	{unix.MS_PRIVATE, "MS_PRIVATE"},
	{unix.MS_SLAVE, "MS_SLAVE"},
	{unix.MS_SHARED, "MS_SHARED"},
	{unix.MS_RELATIME, "MS_RELATIME"},
	{unix.MS_STRICTATIME, "MS_STRICTATIME"},
	{unix.MS_LAZYTIME, "MS_LAZYTIME"},
}}

var umountBits = set{"MNT_???", []flag{
	{unix.MNT_FORCE, "MNT_FORCE"},
	{unix.MNT_DETACH, "MNT_DETACH"},
	{unix.MNT_EXPIRE, "MNT_EXPIRE"},
	{unix.UMOUNT_NOFOLLOW, "UMOUNT_NOFOLLOW"},
}}

var inotifyBits = set{"IN_???", []flag{
	{unix.IN_ACCESS, "IN_ACCESS"},
	{unix.IN_MODIFY, "IN_MODIFY"},
	{unix.IN_ATTRIB, "IN_ATTRIB"},
	{unix.IN_CLOSE_WRITE, "IN_CLOSE_WRITE"},
	{unix.IN_CLOSE_NOWRITE, "IN_CLOSE_NOWRITE"},
	{unix.IN_OPEN, "IN_OPEN"},
	{unix.IN_MOVED_FROM, "IN_MOVED_FROM"},
	{unix.IN_MOVED_TO, "IN_MOVED_TO"},
	{unix.IN_CREATE, "IN_CREATE"},
	{unix.IN_DELETE, "IN_DELETE"},
	{unix.IN_DELETE_SELF, "IN_DELETE_SELF"},
	{unix.IN_MOVE_SELF, "IN_MOVE_SELF"},
	{unix.IN_ONLYDIR, "IN_ONLYDIR"},
	{unix.IN_DONT_FOLLOW, "IN_DONT_FOLLOW"},
	{unix.IN_EXCL_UNLINK, "IN_EXCL_UNLINK"},
	{unix.IN_MASK_CREATE, "IN_MASK_CREATE"},
	{unix.IN_MASK_ADD, "IN_MASK_ADD"},
	{unix.IN_ISDIR, "IN_ISDIR"},
	{unix.IN_ONESHOT, "IN_ONESHOT"},
}}

var inotifyInitBits = set{"IN_???", []flag{
	{unix.IN_NONBLOCK, "IN_NONBLOCK"},
	{unix.IN_CLOEXEC, "IN_CLOEXEC"},
}}
