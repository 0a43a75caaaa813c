/*
 * What a power cut would leave, as an LD_PRELOAD library.
 *
 *     cc -shared -fPIC -O2 -o powercut.so powercut.c -ldl -lpthread
 *     LD_PRELOAD=./powercut.so POWERCUT_ROOT=/state POWERCUT_SHADOW=/shadow SERVER ...
 *
 * Beside the tree below the root it keeps a second one that holds only what was synced: contents by fsync and fdatasync
 * of the file, names by fsync of their folder.  Kill the server, start it on the second tree, and see what is missing:
 * a kill alone shows nothing of that, for the kernel lives on and writes everything.
 *
 * A content is kept under the number of its inode (.data.NUMBER), and appears under its name once that is durable too.
 * Every step in the second tree is a rename: a kill in the midst of one leaves the state before or after it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATH_BYTES = PATH_MAX + 300 };

static const char PREFIX[] = ".data.";
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Find the path of a descriptor, and its place in the second tree; tell whether it is ours. */
static int find_paths(int fd, char *path, char *shadow)
{
    const char *root = getenv("POWERCUT_ROOT"), *second = getenv("POWERCUT_SHADOW");
    if (!root || !second)
        return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    size_t root_length = strlen(root);
    if (strncmp(path, root, root_length) != 0 || (path[root_length] != '/' && path[root_length] != 0))
        return 0;
    return snprintf(shadow, PATH_MAX, "%s%s", second, path + root_length) < PATH_MAX;
}

static void temporary(char *path, const char *folder)
{
    snprintf(path, PATH_BYTES, "%s/%snew.%d", folder, PREFIX, (int)getpid());
}

static void content_path(char *path, const char *folder, ino_t inode)
{
    snprintf(path, PATH_BYTES, "%s/%s%lu", folder, PREFIX, (unsigned long)inode);
}

/* Let a name stand for a content. */
static void put_name(const char *content, const char *name, const char *folder)
{
    struct stat of_content, of_name;
    if (stat(content, &of_content) != 0)
        return;
    if (stat(name, &of_name) == 0 && of_name.st_ino == of_content.st_ino)
        return;
    char new[PATH_BYTES];
    temporary(new, folder);
    unlink(new);
    if (link(content, new) == 0)
        rename(new, name);
}

static void copy_content(int fd, const char *path, const char *shadow)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    char folder[PATH_BYTES], content[PATH_BYTES], new[PATH_BYTES];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(shadow, '/') - shadow), shadow);
    content_path(content, folder, status.st_ino);
    temporary(new, folder);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from >= 0 && to >= 0) {
        off_t done = 0;
        while (done < status.st_size && sendfile(to, from, &done, status.st_size - done) > 0)
            ;
        rename(new, content);
        if (access(shadow, F_OK) == 0)
            put_name(content, shadow, folder);
    }
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
}

static int is_content(const char *name)
{
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

/* The names that are in a folder now are durable, and no others. */
static void copy_names(const char *path, const char *shadow)
{
    char real[PATH_BYTES], second[PATH_BYTES], content[PATH_BYTES];
    struct dirent *entry;
    mkdir(shadow, 0700);
    DIR *folder = opendir(path);
    while (folder && (entry = readdir(folder))) {
        struct stat status;
        snprintf(real, sizeof real, "%s/%s", path, entry->d_name);
        snprintf(second, sizeof second, "%s/%s", shadow, entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || stat(real, &status) != 0)
            continue;
        if (S_ISDIR(status.st_mode)) {
            mkdir(second, 0700);
        } else if (S_ISREG(status.st_mode)) {
            content_path(content, shadow, status.st_ino);
            put_name(content, second, shadow);
            /* Never synced: the name is there, and nothing in it. */
            int fd = open(second, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            if (fd >= 0)
                close(fd);
        }
    }
    if (folder)
        closedir(folder);
    folder = opendir(shadow);
    while (folder && (entry = readdir(folder))) {
        snprintf(real, sizeof real, "%s/%s", path, entry->d_name);
        snprintf(second, sizeof second, "%s/%s", shadow, entry->d_name);
        if (!is_content(entry->d_name) && access(real, F_OK) != 0)
            unlink(second);
    }
    if (folder)
        closedir(folder);
}

static void synced(int fd)
{
    char path[PATH_MAX], shadow[PATH_MAX];
    struct stat status;
    if (!find_paths(fd, path, shadow) || fstat(fd, &status) != 0)
        return;
    pthread_mutex_lock(&one_at_a_time);
    if (S_ISDIR(status.st_mode))
        copy_names(path, shadow);
    else
        copy_content(fd, path, shadow);
    pthread_mutex_unlock(&one_at_a_time);
}

int fsync(int fd)
{
    int result = (int)syscall(SYS_fsync, fd);
    if (result == 0)
        synced(fd);
    return result;
}

int fdatasync(int fd)
{
    int result = (int)syscall(SYS_fdatasync, fd);
    if (result == 0)
        synced(fd);
    return result;
}
