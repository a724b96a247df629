/* Counts what a process asks of its files; at a call of a number it is killed, or the call fails.
 *
 * Preloaded (see faults.py). Nothing happens until `faults_arm` is called, or FAULTS_KILL_AT is in
 * the environment; children of the process are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTHING, KILL, FULL, FAIL, SHORT };  /* FULL: from that call on; SHORT: half is written */

static atomic_int action, changes_only;
static atomic_long counted, number;
static char place[4096];  /* the folder whose files can fail */

static void disarm(void) { action = NOTHING; number = 0; }

void faults_arm(int what, long when, int only, const char *where) {
    strncpy(place, where, sizeof place - 1);
    counted = 0;
    number = when;
    changes_only = only;
    action = what;
}

long faults_counted(void) { return counted; }

__attribute__((constructor)) static void begin(void) {
    const char *when = getenv("FAULTS_KILL_AT");
    pthread_atfork(NULL, NULL, disarm);
    if (when) faults_arm(KILL, atol(when), 0, "");
    unsetenv("FAULTS_KILL_AT");
}

static int inside(const char *path) {
    char here[4096];
    size_t length = strlen(place);
    if (path[0] != '/') {
        if (!getcwd(here, sizeof here)) return 0;
        path = here;
    }
    return !strncmp(path, place, length) && (path[length] == '/' || !path[length]);
}

static int inside_file(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path[0] == '/' && inside(path);  /* else it is a pipe or the like */
}

/* Before a call: what it must do. `ours`: of a file below `place`, which alone can fail. */
static int next(int changes, int ours) {
    if (action == NOTHING || (changes_only && !(changes && ours))) return NOTHING;
    long at = ++counted;
    if (number <= 0 || at < number) return NOTHING;
    if (action == KILL && at == number) { kill(getpid(), SIGKILL); pause(); }
    if (!ours || !changes) return NOTHING;
    if (action == FULL) return FULL;
    if (action == FAIL && at == number) return FAIL;
    return action == SHORT ? SHORT : NOTHING;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAILS(what) \
    int now_ = (what); \
    if (now_ == FULL) { errno = ENOSPC; return -1; } \
    if (now_ == FAIL) { errno = EIO; return -1; }
#define FAILS_UNLESS_REMOVING(what) if ((what) == FAIL) { errno = EIO; return -1; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        FAILS(next((flags & O_ACCMODE) != O_RDONLY, action != NOTHING && inside(path))) \
        return real(path, flags, mode); }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        FAILS(next((flags & O_ACCMODE) != O_RDONLY, action != NOTHING && inside(path))) \
        return real(folder, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)

#define OF_FILE(file) next(1, action != NOTHING && inside_file(file))

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    FAILS(OF_FILE(file))
    return real(file, data, now_ == SHORT && size > 1 ? size / 2 : size);
}

#define PWRITE(name, offset) \
    ssize_t name(int file, const void *data, size_t size, offset where) { \
        REAL(name); \
        FAILS(OF_FILE(file)) \
        return real(file, data, now_ == SHORT && size > 1 ? size / 2 : size, where); }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

int fsync(int file) { REAL(fsync); FAILS(OF_FILE(file)) return real(file); }
int fdatasync(int file) { REAL(fdatasync); FAILS(OF_FILE(file)) return real(file); }
int ftruncate(int file, off_t size) { REAL(ftruncate); FAILS(OF_FILE(file)) return real(file, size); }
int ftruncate64(int file, off64_t size) { REAL(ftruncate64); FAILS(OF_FILE(file)) return real(file, size); }

#define OF_NAME(path) next(1, action != NOTHING && inside(path))

int rename(const char *from, const char *to) {
    REAL(rename); FAILS_UNLESS_REMOVING(OF_NAME(to)) return real(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat); FAILS_UNLESS_REMOVING(OF_NAME(to)) return real(a, from, b, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(renameat2); FAILS_UNLESS_REMOVING(OF_NAME(to)) return real(a, from, b, to, flags); }
int link(const char *from, const char *to) { REAL(link); FAILS(OF_NAME(to)) return real(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(linkat); FAILS(OF_NAME(to)) return real(a, from, b, to, flags); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); FAILS(OF_NAME(path)) return real(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat); FAILS(OF_NAME(path)) return real(folder, path, mode); }
int unlink(const char *path) {
    REAL(unlink); FAILS_UNLESS_REMOVING(OF_NAME(path)) return real(path); }
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat); FAILS_UNLESS_REMOVING(OF_NAME(path)) return real(folder, path, flags); }
int rmdir(const char *path) { REAL(rmdir); FAILS_UNLESS_REMOVING(OF_NAME(path)) return real(path); }
