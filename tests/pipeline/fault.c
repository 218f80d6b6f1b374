/* Loaded before the C library: counts a process's changes to files under a folder, and lets one of them end badly.
 *
 * Whatever changes files goes through these functions: Python, Rust and C++ alike. `fault_arm` begins the count; at number `at` the process is
 * killed (KILL), killed after half of a write (TEAR), told that the disk is full from there on (FULL), or interrupted (INTERRUPT). Each change
 * is a line of the log: its name, a size where one is known, and its paths.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FULL, INTERRUPT };
static char root[PATH_MAX];
static int action, at, out = -1;
static atomic_int count, armed;

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

void fault_arm(const char *folder, int what, int number, const char *file)
{
    snprintf(root, sizeof root, "%s", folder);
    action = what, at = number;
    out = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0600);
    count = 0;
    armed = 1;
}

int fault_count(void) { return count; }

static int absolute(int folder, const char *path, char *found)
{
    char base[PATH_MAX] = "", name[64];
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
            ssize_t size = readlink(name, base, sizeof base - 1);
            if (size < 0) return 0;
            base[size] = 0;
        }
        snprintf(found, 2 * PATH_MAX, path[0] ? "%s/%s" : "%s", base, path);
    } else
        snprintf(found, 2 * PATH_MAX, "%s", path);
    size_t length = strlen(root);
    return !strncmp(found, root, length) && (found[length] == '/' || !found[length]);
}

/* Counts a change; 1: the caller shall fail for want of space; 2: it shall write a half and call `die`. */
static int change(const char *name, long size, int grows, const char *path, const char *other)
{
    int number = atomic_fetch_add(&count, 1) + 1, due = number == at;
    char line[5 * PATH_MAX];
    if (due && action == KILL) { syscall(SYS_kill, getpid(), SIGKILL); pause(); }
    if (due && action == TEAR && size < 2) { syscall(SYS_kill, getpid(), SIGKILL); pause(); }
    if (due && action == INTERRUPT) syscall(SYS_kill, getpid(), SIGINT);
    int refused = action == FULL && number >= at && grows;
    int length = snprintf(line, sizeof line, "%s\t%ld\t%s\t%s\n", refused ? "full" : name, size, path, other ? other : "");
    syscall(SYS_write, out, line, length);
    return refused ? 1 : due && action == TEAR ? 2 : 0;
}

static int named(const char *name, int grows, int folder, const char *path, int other_folder, const char *other)
{
    char here[2 * PATH_MAX], there[2 * PATH_MAX] = "";
    if (!armed || !absolute(folder, path, here)) return 0;
    if (other) absolute(other_folder, other, there);
    return change(name, 0, grows, here, there);
}

static int of_file(const char *name, long size, int grows, int file)
{
    char path[2 * PATH_MAX];
    if (!armed || file == out || !absolute(file, "", path)) return 0;
    return change(name, size, grows, path, 0);
}

static int full(void) { errno = ENOSPC; return -1; }

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); pause(); }

static int opened(const char *name, int folder, const char *path, int flags)
{
    if ((flags & O_ACCMODE) == O_RDONLY || !(flags & (O_CREAT | O_TRUNC))) return 0;
    struct stat status;
    int there = syscall(SYS_newfstatat, folder, path, &status, 0) == 0;
    return there && !(flags & O_TRUNC) ? 0 : named(name, !there, folder, path, 0, 0);
}

#define OPEN(function)                                                                       \
    int function(const char *path, int flags, ...)                                           \
    {                                                                                        \
        REAL(function);                                                                      \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, int); va_end(list);  \
        return opened("open", AT_FDCWD, path, flags) ? full() : real(path, flags, mode);     \
    }
#define OPENAT(function)                                                                     \
    int function(int folder, const char *path, int flags, ...)                               \
    {                                                                                        \
        REAL(function);                                                                      \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, int); va_end(list);  \
        return opened("open", folder, path, flags) ? full() : real(folder, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *data, size_t size)
{
    REAL(write);
    int what = of_file("write", size, 1, file);
    if (what == 2) { real(file, data, size / 2); die(); }
    return what ? full() : real(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int number)
{
    REAL(writev);
    int what = of_file("write", number, 1, file);
    if (what == 2) { real(file, parts, number / 2); die(); }
    return what ? full() : real(file, parts, number);
}

#define PWRITE(function, offset_t)                                                           \
    ssize_t function(int file, const void *data, size_t size, offset_t offset)               \
    {                                                                                        \
        REAL(function);                                                                      \
        int what = of_file("write", size, 1, file);                                          \
        if (what == 2) { real(file, data, size / 2, offset); die(); }                        \
        return what ? full() : real(file, data, size, offset);                               \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t sendfile64(int to, int from, off64_t *offset, size_t size)
{
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "sendfile64");
    return of_file("write", 0, 1, to) ? full() : real(to, from, offset, size);
}

ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *place, size_t size, unsigned flags)
{
    REAL(copy_file_range);
    return of_file("write", 0, 1, to) ? full() : real(from, start, to, place, size, flags);
}

static int synced(int file)
{
    struct stat status;
    return of_file("sync", fstat(file, &status) ? 0 : status.st_size, 1, file);
}

int fsync(int file) { REAL(fsync); return synced(file) == 1 ? full() : real(file); }
int fdatasync(int file) { REAL(fdatasync); return synced(file) == 1 ? full() : real(file); }
int ftruncate(int file, off_t size) { REAL(ftruncate); return of_file("write", 0, 1, file) ? full() : real(file, size); }
int ftruncate64(int file, off64_t size) { REAL(ftruncate64); return of_file("write", 0, 1, file) ? full() : real(file, size); }
int rename(const char *a, const char *b) { REAL(rename); return named("rename", 1, AT_FDCWD, a, AT_FDCWD, b) ? full() : real(a, b); }
int renameat(int f, const char *a, int g, const char *b) { REAL(renameat); return named("rename", 1, f, a, g, b) ? full() : real(f, a, g, b); }
int unlink(const char *path) { REAL(unlink); named("unlink", 0, AT_FDCWD, path, 0, 0); return real(path); }
int unlinkat(int f, const char *path, int flags) { REAL(unlinkat); named("unlink", 0, f, path, 0, 0); return real(f, path, flags); }
int rmdir(const char *path) { REAL(rmdir); named("rmdir", 0, AT_FDCWD, path, 0, 0); return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); return named("mkdir", 1, AT_FDCWD, path, 0, 0) ? full() : real(path, mode); }
int mkdirat(int f, const char *path, mode_t mode) { REAL(mkdirat); return named("mkdir", 1, f, path, 0, 0) ? full() : real(f, path, mode); }
