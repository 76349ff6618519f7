/* Makes a folder slow: each call that opens, renames, makes, removes or syncs something in it takes
 * OCRJAX_SLOW_MS longer, as on a busy network file system. Loaded with LD_PRELOAD.
 *
 *   cc -shared -fPIC -o slow_folder.so slow_folder.c -ldl
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void delay(const char *path) {
    const char *folder = getenv("OCRJAX_SLOW_FOLDER"), *ms = getenv("OCRJAX_SLOW_MS");
    if (folder && ms && (!path || !strncmp(path, folder, strlen(folder)))) usleep(1000 * atoi(ms));
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = va_arg(list, int);                                                           \
        va_end(list);                                                                              \
        delay(path);                                                                               \
        return REAL(name)(path, flags, mode);                                                      \
    }
#define OPENAT(name)                                                                               \
    int name(int folder, const char *path, int flags, ...) {                                       \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = va_arg(list, int);                                                           \
        va_end(list);                                                                              \
        delay(path);                                                                               \
        return REAL(name)(folder, path, flags, mode);                                              \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int rename(const char *from, const char *to) { return delay(to), REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return delay(path), REAL(mkdir)(path, mode); }
int rmdir(const char *path) { return delay(path), REAL(rmdir)(path); }
int unlink(const char *path) { return delay(path), REAL(unlink)(path); }
DIR *opendir(const char *path) { return delay(path), REAL(opendir)(path); }
int fsync(int file) { return delay(NULL), REAL(fsync)(file); }
