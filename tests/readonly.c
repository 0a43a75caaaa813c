/*
 * A file system that is read-only while a file exists, as an LD_PRELOAD library.
 *
 *     cc -shared -fPIC -O2 -o readonly.so readonly.c
 *     LD_PRELOAD=./readonly.so READONLY_ROOT=/state READONLY_WHILE=/elsewhere/flag SERVER ...
 *
 * The kernel does not let anybody make a file system read-only while files are open for writing; disks that fail, and
 * file systems of the network, do not ask.  Below the root whatever writes says EROFS, also on files that were open
 * before; reading, syncing and closing go on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_on(void)
{
    const char *flag = getenv("READONLY_WHILE");
    return flag && access(flag, F_OK) == 0;
}

static int is_below(const char *path)
{
    const char *root = getenv("READONLY_ROOT");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int path_refused(const char *path)
{
    int refused = is_below(path) && is_on();
    if (refused)
        errno = EROFS;
    return refused;
}

static int fd_refused(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return path_refused(path);
}

/* Opening: what would write or make a file. */

static int opening_refused(const char *path, int flags)
{
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC)))
        return 0;
    /* A kernel opens what exists for reading only, and with O_CREAT too. */
    return ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) || access(path, F_OK) != 0) && path_refused(path);
}

#define OPEN(name)                                   \
    int name(const char *path, int flags, ...)       \
    {                                                \
        va_list rest;                                \
        va_start(rest, flags);                       \
        mode_t mode = va_arg(rest, mode_t);          \
        va_end(rest);                                \
        if (opening_refused(path, flags))            \
            return -1;                               \
        return REAL(name)(path, flags, mode);        \
    }
OPEN(open)
OPEN(open64)

/* Writing to what is open. */

#define WRITING(type, name, parameters, fd, arguments) \
    type name parameters                               \
    {                                                  \
        if (fd_refused(fd))                            \
            return -1;                                 \
        return REAL(name) arguments;                   \
    }
WRITING(ssize_t, write, (int fd, const void *octets, size_t count), fd, (fd, octets, count))
WRITING(ssize_t, writev, (int fd, const struct iovec *parts, int count), fd, (fd, parts, count))
WRITING(ssize_t, pwrite, (int fd, const void *octets, size_t count, off_t place), fd, (fd, octets, count, place))
WRITING(ssize_t, pwrite64, (int fd, const void *octets, size_t count, off64_t place), fd, (fd, octets, count, place))
WRITING(int, ftruncate, (int fd, off_t length), fd, (fd, length))
WRITING(int, ftruncate64, (int fd, off64_t length), fd, (fd, length))
WRITING(int, fchmod, (int fd, mode_t mode), fd, (fd, mode))

/* Changing names. */

#define NAMING(name, parameters, path, arguments) \
    int name parameters                           \
    {                                             \
        if (path_refused(path))                   \
            return -1;                            \
        return REAL(name) arguments;              \
    }
NAMING(unlink, (const char *path), path, (path))
NAMING(rmdir, (const char *path), path, (path))
NAMING(mkdir, (const char *path, mode_t mode), path, (path, mode))
NAMING(chmod, (const char *path, mode_t mode), path, (path, mode))
NAMING(rename, (const char *from, const char *to), to, (from, to))
NAMING(link, (const char *from, const char *to), to, (from, to))

/* Being asked. */

#define ASKING(name, type)                                          \
    int name(const char *path, struct type *answer)                 \
    {                                                               \
        int result = REAL(name)(path, answer);                      \
        if (result == 0 && is_below(path) && is_on())               \
            answer->f_flag |= ST_RDONLY;                            \
        return result;                                              \
    }
ASKING(statvfs, statvfs)
ASKING(statvfs64, statvfs64)
