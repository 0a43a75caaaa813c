/* A slow disk, for LD_PRELOAD: each fsync and fdatasync takes SLOWSYNC_MS milliseconds more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int slowly(const char *name, int fd)
{
    const char *text = getenv("SLOWSYNC_MS");
    long milliseconds = text ? atol(text) : 5;
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    nanosleep(&pause, NULL);
    return real(fd);
}

int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
