/* A tiny static HTTP server for the engine's tests: answers every path, and does what some of them say. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void quit(int number) { (void)number; write(1, "bye\n", 4); _exit(0); }

/* Try to connect; 0, or the errno that said no. */
static int reach(const char *address, int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {0, 300000};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_aton(address, &to.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int result = connect(fd, (struct sockaddr *)&to, sizeof to) ? errno : 0;
    close(fd);
    return result;
}

/* Send a datagram; 0, or the errno that said no. */
static int send_to(const char *address, int port) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_aton(address, &to.sin_addr);
    int result = sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
    close(fd);
    return result;
}

static long fill_memory(int megabytes) {
    for (int i = 0; i < megabytes; i++) {
        char *page = malloc(1 << 20);
        if (!page) return -1;
        memset(page, 1, 1 << 20);
    }
    return megabytes;
}

static int fill_disk(int megabytes) {
    static char block[1 << 20];
    int fd = open("/filled", O_WRONLY | O_CREAT, 0644), result = 0;
    for (int i = 0; i < megabytes && !result; i++)
        if (write(fd, block, sizeof block) != sizeof block) result = errno ? errno : ENOSPC;
    if (!result && fsync(fd)) result = errno;
    close(fd);
    return result;
}

static int fork_many(int count) {
    int made = 0;
    for (; made < count; made++) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0) { pause(); _exit(0); }
    }
    return made;
}

static void answer(int fd) {
    char request[4096] = {0}, path[256] = {0}, body[512] = "hello\n", address[64];
    int number = 0, port = 0;
    if (read(fd, request, sizeof request - 1) <= 0 || sscanf(request, "GET %255s", path) != 1) return;
    if (sscanf(path, "/exit/%d", &number) == 1) _exit(number);
    if (sscanf(path, "/memory/%d", &number) == 1) sprintf(body, "%ld\n", fill_memory(number));
    if (sscanf(path, "/disk/%d", &number) == 1) sprintf(body, "%d\n", fill_disk(number));
    if (sscanf(path, "/fork/%d", &number) == 1) sprintf(body, "%d\n", fork_many(number));
    if (sscanf(path, "/reach/%63[^/]/%d", address, &port) == 2) sprintf(body, "%d\n", reach(address, port));
    if (sscanf(path, "/send/%63[^/]/%d", address, &port) == 2) sprintf(body, "%d\n", send_to(address, port));
    if (sscanf(path, "/say/%d", &number) == 1)
        for (int i = 0; i < number; i++) printf("line %06d %80s\n", i, "");
    fflush(stdout);
    dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", strlen(body), body);
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 8080, yes = 1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, argc > 2 && !strcmp(argv[2], "stubborn") ? SIG_IGN : quit);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 128)) return perror("bind"), 1;
    for (;;) {
        int fd = accept(listener, 0, 0);
        if (fd < 0) continue;
        answer(fd);
        shutdown(fd, SHUT_WR); /* also where forked processes hold it */
        close(fd);
    }
}
