/* The stage hand: becomes a zone's user, and before that shows it a folder which is closed to that user.
 *
 * Run by root as `stage OWN_FD UID FOLDER PLACE COMMAND...`; stage.py says what for, and is the same program in Python.
 * An empty FOLDER is not shown. OWN_FD is this program's own file, closed before COMMAND gets to see it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static void need(int result, const char *what) {
    if (result == 0)
        return;
    fprintf(stderr, "the zone's user cannot be made ready: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void show(const char *folder, const char *place) {
    need(unshare(CLONE_NEWNS), "a mount namespace");
    need(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL), "/");
    need(mount(folder, place, NULL, MS_BIND, NULL), place);
}

int main(int count, char **arguments) {
    if (count < 6)
        return 2;
    close(atoi(arguments[1]));
    uid_t user = (uid_t)strtoul(arguments[2], NULL, 10);
    if (user == 0)
        return 2;
    if (arguments[3][0] != '\0')
        show(arguments[3], arguments[4]);
    need(setgroups(0, NULL), "its groups");
    need(setresgid(user, user, user), "its group");
    need(setresuid(user, user, user), "its user");
    execv(arguments[5], arguments + 5);
    need(-1, arguments[5]);
}
