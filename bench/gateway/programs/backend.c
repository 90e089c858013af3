/* The function behind every proxy that is measured: answers at once, from one thread, and costs next to nothing.
 *
 *     backend PORT
 *
 *     /bytes/N     an answer of N bytes
 *     /wait/MS     a small answer after MS milliseconds; one MS at a time, for those that wait stand in one line
 *     any other    a small answer
 * A body of the length that the request tells is read and forgotten first. Chunked requests are not understood.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 << 10, SMALL = 8 << 10, PIECE = 1 << 20, LARGEST = 64 << 20 };
static const char BODY[] = "{\"message\": \"Hello from a function.\"}\n";

struct peer {
    int fd, waiting, gone;          /* waiting: in the line; gone: closed by the other end meanwhile */
    size_t used;                    /* bytes of `in` */
    long body, size, wait;          /* body: bytes of the request still to come; size: of the answer, -1: BODY */
    off_t sent; long left;          /* of an answer from `zeros` */
    double due;
    struct peer *next;
    char in[HEAD + 1];
};

static int poller, zeros;
static struct peer *first, *last;   /* those that wait */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void watch(struct peer *p, int add) {
    struct epoll_event e = { EPOLLIN | (p->left ? EPOLLOUT : 0), { .ptr = p } };
    epoll_ctl(poller, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, p->fd, &e);
}

static void end(struct peer *p) {
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
    if (p->waiting) p->gone = 1;
    else free(p);
}

/* More of a large answer. Returns 0 when the connection is of no use any more. */
static int push(struct peer *p) {
    while (p->left) {
        ssize_t n = sendfile(p->fd, zeros, &p->sent, (size_t)p->left);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) return 0;
        p->left -= n;
    }
    return 1;
}

static int answer(struct peer *p) {
    char out[512 + SMALL];
    long size = p->size < 0 ? (long)sizeof BODY - 1 : p->size;
    int length = snprintf(out, 512, "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\n"
                          "Content-Length: %ld\r\n\r\n", size);
    if (p->size < 0) length += sprintf(out + length, "%s", BODY);
    else if (size <= SMALL) { memset(out + length, '0', (size_t)size); length += (int)size; }
    else { p->sent = 0; p->left = size; }
    if (send(p->fd, out, (size_t)length, MSG_NOSIGNAL | (p->left ? MSG_MORE : 0)) != length) return 0;
    if (!p->left) return 1;
    if (!push(p)) return 0;
    watch(p, 0);
    return 1;
}

static int answer_or_wait(struct peer *p) {
    if (!p->wait) return answer(p);
    p->due = now() + (double)p->wait / 1000;
    p->waiting = 1;
    p->next = NULL;
    if (last) last->next = p; else first = p;
    last = p;
    return 1;
}

/* As many requests as there are in `in`. */
static int requests(struct peer *p) {
    char *blank;
    while (!p->left && !p->waiting && (p->in[p->used] = 0, blank = strstr(p->in, "\r\n\r\n"))) {
        size_t head = (size_t)(blank + 4 - p->in);
        *blank = 0;
        const char *length = strcasestr(p->in, "\r\ncontent-length:"), *path = strchr(p->in, ' ');
        if (!path) return 0;
        path++;
        p->size = strncmp(path, "/bytes/", 7) ? -1 : atol(path + 7);
        p->wait = strncmp(path, "/wait/", 6) ? 0 : atol(path + 6);
        p->body = length ? atol(length + 17) : 0;
        if (p->size > LARGEST) return 0;
        size_t early = p->used - head;
        if ((long)early > p->body) early = (size_t)p->body;
        p->body -= (long)early;
        p->used -= head + early;
        memmove(p->in, p->in + head + early, p->used);
        if (p->body) return 1;
        if (!answer_or_wait(p)) return 0;
    }
    return p->used < HEAD;
}

static int receive(struct peer *p) {
    if (p->body) {                  /* MSG_TRUNC: not even copied. Source: tcp(7) */
        ssize_t n = recv(p->fd, NULL, (size_t)(p->body < PIECE ? p->body : PIECE), MSG_TRUNC);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        p->body -= n;
        return p->body || answer_or_wait(p);
    }
    ssize_t n = recv(p->fd, p->in + p->used, HEAD - p->used, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    p->used += (size_t)n;
    return requests(p);
}

static void finish_waits(void) {
    while (first && first->due <= now()) {
        struct peer *p = first;
        first = p->next;
        if (!first) last = NULL;
        p->waiting = 0;
        if (p->gone || !answer(p) || !requests(p)) end(p);
    }
}

static void serve(struct peer *p, unsigned events) {
    if (events & EPOLLOUT) {
        if (!push(p)) { end(p); return; }
        if (!p->left) { watch(p, 0); if (!requests(p)) { end(p); return; } }
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !receive(p)) end(p);
}

int main(int count, char **words) {
    if (count != 2) { fprintf(stderr, "usage: backend PORT\n"); return 2; }
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1])),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) { perror("listen"); return 1; }
    prctl(PR_SET_PDEATHSIG, 15);
    prctl(PR_SET_TIMERSLACK, 1);
    poller = epoll_create1(EPOLL_CLOEXEC);
    zeros = memfd_create("zeros", MFD_CLOEXEC);
    if (ftruncate(zeros, LARGEST)) { perror("memfd"); return 1; }
    struct epoll_event e = { EPOLLIN, { .ptr = NULL } }, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        double left = first ? first->due - now() : 0;
        struct timespec until = { 0, left > 0 ? (long)(left * 1e9) : 0 };
        if (left >= 1) until = (struct timespec){ 1, 0 };
        int n = epoll_pwait2(poller, events, 256, first ? &until : NULL, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) { serve(events[i].data.ptr, events[i].events); continue; }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            struct peer *p = calloc(1, sizeof *p);
            if (!p) { close(fd); continue; }
            p->fd = fd;
            watch(p, 1);
        }
        finish_waits();
    }
}
