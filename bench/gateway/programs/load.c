/* Sends requests from one thread and tells what came of them, as one line of JSON.
 *
 *     load PORT HOST CONNECTIONS SECONDS RATE METHOD PATH BODY [PID…]
 *
 * RATE 0: closed loop, every connection sends its next request when the answer is there. Else open loop: request n
 * is due at n/RATE, and its latency counts from then, whether or not a connection was free, so that a slow answer is
 * not hidden by the requests that it kept from being sent (coordinated omission).
 * The first WARM seconds do not count. Of each PID the CPU time used within the counted time is told.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
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

enum { HEAD = 16 << 10, PIECE = 1 << 20, GIVE_UP = 20000 };
static const double WARM = 0.5, LINGER = 3.0;   /* LINGER: seconds for the last answers to come */

struct peer {
    int fd, busy, status, closing;
    size_t used, asked;             /* bytes of `in`; bytes of the request's head that are sent */
    long left, upload;              /* of the answer's body, -1: the head is not complete; of the request's body */
    off_t at;
    double due;
    struct peer *next;              /* among the free */
    char in[HEAD + 1];
};

static int poller, zeros, port;
static char head[4096];
static size_t head_length;
static long body, broken, answered, good, refused, other, bytes, sent;
static uint32_t *times;             /* of good answers, tenths of a microsecond */
static long timed, room;
static double begun, counted, ended;
static struct peer *first_free, *last_free;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void count_bytes(long n) {
    double at = now();
    if (at >= counted && at < ended) bytes += n;
}

static void watch(struct peer *p, int add) {
    int writing = p->busy && (p->asked < head_length || p->upload);
    struct epoll_event e = { EPOLLIN | (writing ? EPOLLOUT : 0), { .ptr = p } };
    epoll_ctl(poller, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, p->fd, &e);
}

static void die(const char *why) { fprintf(stderr, "load: %s: %s\n", why, strerror(errno)); exit(1); }

static void dial(struct peer *p) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int yes = 1;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&at, sizeof at)) die("connect");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    p->busy = 0;
    p->used = 0;
    watch(p, 1);
}

static void release(struct peer *p) {
    p->busy = 0;
    p->next = NULL;
    if (last_free) last_free->next = p; else first_free = p;
    last_free = p;
}

static void lost(struct peer *p) {
    if (p->busy) broken++;
    if (broken > GIVE_UP) die("too many broken connections");
    int was = p->busy;
    close(p->fd);
    dial(p);
    if (was) release(p);
}

/* More of the request. Returns 0 when the connection is broken. */
static int put(struct peer *p) {
    while (p->asked < head_length) {
        ssize_t n = send(p->fd, head + p->asked, head_length - p->asked,
                         MSG_NOSIGNAL | (p->upload ? MSG_MORE : 0));
        if (n < 0 && errno == EAGAIN) return 1;
        if (n <= 0) return 0;
        p->asked += (size_t)n;
    }
    while (p->upload) {
        ssize_t n = sendfile(p->fd, zeros, &p->at, (size_t)p->upload);
        if (n < 0 && errno == EAGAIN) return 1;
        if (n <= 0) return 0;
        p->upload -= n;
        count_bytes(n);
    }
    return 1;
}

static void ask(struct peer *p, double due) {
    p->busy = 1;
    p->due = due;
    p->asked = p->used = 0;
    p->left = -1;
    p->upload = body;
    p->at = 0;
    sent += due >= counted && due < ended;
    if (!put(p)) { lost(p); return; }
    if (p->upload || p->asked < head_length) watch(p, 0);
}

static void note(double seconds) {
    if (timed == room) {
        room = room ? room * 2 : 1 << 16;
        times = realloc(times, (size_t)room * sizeof *times);
        if (!times) die("memory");
    }
    times[timed++] = (uint32_t)(seconds * 1e7);
}

/* An answer is complete. What was due before or came after the counted time is not counted. */
static void done(struct peer *p) {
    double at = now();
    int counts = at >= counted && at < ended, good_one = p->status >= 200 && p->status < 300;
    if (counts) {
        answered++;
        if (good_one) good++;
        else if (p->status == 429 || p->status == 503) refused++;
        else other++;
    }
    if (good_one && p->due >= counted && p->due < ended) note(at - p->due);
    if (p->closing) { p->busy = 0; lost(p); }
    release(p);
}

/* Returns 0 when the connection is broken. */
static int receive(struct peer *p) {
    if (p->left > 0) {              /* MSG_TRUNC: not even copied. Source: tcp(7) */
        ssize_t n = recv(p->fd, NULL, (size_t)(p->left < PIECE ? p->left : PIECE), MSG_TRUNC);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        p->left -= n;
        count_bytes(n);
    } else {
        ssize_t n = recv(p->fd, p->in + p->used, HEAD - p->used, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        p->used += (size_t)n;
        p->in[p->used] = 0;
        char *blank = strstr(p->in, "\r\n\r\n");
        if (!blank) return p->used < HEAD;
        if (!p->busy) return 0;     /* nobody asked */
        size_t size = (size_t)(blank + 4 - p->in);
        *blank = 0;
        const char *length = strcasestr(p->in, "\r\ncontent-length:");
        if (!length || sscanf(p->in, "HTTP/1.1 %d", &p->status) != 1) return 0;
        p->closing = strcasestr(p->in, "\r\nconnection: close") != NULL;
        p->left = atol(length + 17) - (long)(p->used - size);
        if (p->left < 0) return 0;
        count_bytes((long)(p->used - size));
        p->used = 0;
    }
    if (!p->left) done(p);
    return 1;
}

static double cpu_of(const char *pid) {     /* seconds, user and system. Source: proc(5), stat */
    char path[64], line[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    const char *from = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (!from || sscanf(from + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die(path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(double part) {       /* microseconds */
    if (!timed) return 0;
    long at = (long)(part * (double)timed);
    return times[at < timed ? at : timed - 1] / 10.0;
}

int main(int count, char **words) {
    if (count < 9) { fprintf(stderr, "usage: see the first lines of load.c\n"); return 2; }
    port = atoi(words[1]);
    int connections = atoi(words[3]), pids = count - 9;
    double seconds = atof(words[4]), rate = atof(words[5]), *cpu = calloc((size_t)pids + 1, sizeof *cpu);
    body = atol(words[8]);
    char length[64] = "";
    if (strcmp(words[6], "GET")) snprintf(length, sizeof length, "Content-Length: %ld\r\n", body);
    head_length = (size_t)snprintf(head, sizeof head,
        "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n%s\r\n",
        words[6], words[7], words[2], length);
    prctl(PR_SET_PDEATHSIG, 15);
    prctl(PR_SET_TIMERSLACK, 1);
    poller = epoll_create1(EPOLL_CLOEXEC);
    zeros = memfd_create("zeros", MFD_CLOEXEC);
    if (ftruncate(zeros, body + 1)) die("memfd");
    struct peer *all = calloc((size_t)connections, sizeof *all);
    if (!all || !cpu) die("memory");
    for (int n = 0; n < connections; n++) { dial(all + n); release(all + n); }
    begun = now();
    counted = begun + WARM;
    ended = counted + seconds;
    long due = 0;
    int stage = 0;                  /* 0: warm  1: counted  2: last answers */
    struct epoll_event events[512];
    for (;;) {
        double at = now();
        if (stage == 0 && at >= counted) { stage = 1; for (int n = 0; n < pids; n++) cpu[n] = -cpu_of(words[9 + n]); }
        if (stage == 1 && at >= ended) { stage = 2; for (int n = 0; n < pids; n++) cpu[n] += cpu_of(words[9 + n]); }
        long outstanding = 0;
        if (stage == 2) for (int n = 0; n < connections; n++) outstanding += all[n].busy;
        if (stage == 2 && (!outstanding || at > ended + LINGER)) break;
        while (stage < 2 && first_free && (rate == 0 || begun + (double)due / rate <= at)) {
            struct peer *p = first_free;
            first_free = p->next;
            if (!first_free) last_free = NULL;
            ask(p, rate == 0 ? now() : begun + (double)due++ / rate);
        }
        double left = stage == 0 ? counted - at : stage == 1 ? ended - at : 0.05;
        if (rate != 0 && stage < 2 && first_free && begun + (double)due / rate - at < left)
            left = begun + (double)due / rate - at;
        if (left < 0) left = 0;
        struct timespec until = { (time_t)left, (long)((left - (double)(time_t)left) * 1e9) };
        int n = epoll_pwait2(poller, events, 512, &until, NULL);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            int fine = 1;
            if (events[i].events & EPOLLOUT) { fine = put(p); if (fine) watch(p, 0); }
            if (fine && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) fine = receive(p);
            if (!fine) lost(p);
        }
    }
    long hung = 0;
    for (int n = 0; n < connections; n++) hung += all[n].busy;
    qsort(times, (size_t)timed, sizeof *times, by_size);
    printf("{\"seconds\":%.3f,\"sent\":%ld,\"answered\":%ld,\"good\":%ld,\"refused\":%ld,\"other\":%ld,\"broken\":%ld,"
           "\"hung\":%ld,\"bytes\":%ld,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"slowest\":%.1f,\"cpu\":[",
           seconds, sent, answered, good, refused, other, broken, hung, bytes,
           quantile(.5), quantile(.9), quantile(.99), quantile(.999), quantile(1));
    for (int n = 0; n < pids; n++) printf("%s%.2f", n ? "," : "", cpu[n]);
    printf("]}\n");
    return 0;
}
