/* A web server that does on request everything a function's program may do to the platform.
 *
 * How it starts is told by words in its arguments or in the environment variable MISBEHAVE:
 *     port=N         listen there; FC_CUSTOM_LISTEN_PORT, then 9000, without it
 *     listen=MS      listen only after MS milliseconds; listen=never: not at all
 *     exit=CODE      exit at once     exit-in=MS  exit with 7 after MS     exit-after=N  exit with 7 after N requests
 *     leave=MSms     answer GET /pre-stop after MS milliseconds
 *     init=CODE      answer POST /initialize with this status; init=hang: never; init=MSms: 200 after MS milliseconds
 *     term=ignore    do not end on SIGTERM; term=MS: end MS milliseconds after it
 *     eat=MB         take this much memory before listening
 * What it does with a request is told by path and query; ROUTES at the end lists them.
 * One thread per connection; every answer carries X-Boot, which is different in every process.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 256 << 10, BODY = 64 << 20, ABRUPT = 7 };

struct request {
    int fd, keep;                   /* keep: the connection goes on after this request */
    char *head, *query, *body;      /* head: all of it as received; query: after '?', or "" */
    char method[16], path[256];
    size_t length;                  /* of the body */
    char *extra; size_t extras;     /* bytes read beyond the head */
};

static char **arguments;
static unsigned boot;
static atomic_int requests, flying, most;

/* ---- words and time ---- */

static void pause_for(long ms) {
    struct timespec left = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

/* The value of `name` among the words, or NULL. */
static const char *word(const char *name) {
    static char copy[1024];
    size_t length = strlen(name);
    for (char **one = arguments + 1; *one; one++)
        if (!strncmp(*one, name, length) && (*one)[length] == '=') return *one + length + 1;
    for (const char *at = getenv("MISBEHAVE"); at && *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (!strncmp(at, name, length) && at[length] == '=') {
            snprintf(copy, sizeof copy, "%.*s", (int)strcspn(at + length + 1, " "), at + length + 1);
            return copy;
        }
    return NULL;
}

static long counted(const char *name, long otherwise) {
    const char *value = word(name);
    return value ? atol(value) : otherwise;
}

/* The value of `name` in the query, in a buffer of the caller's thread; `otherwise` without it. */
static const char *asked(const struct request *r, const char *name, const char *otherwise) {
    static _Thread_local char value[512];
    size_t length = strlen(name);
    for (const char *at = r->query; at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
        if (!strncmp(at, name, length) && at[length] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at + length + 1, "&"), at + length + 1);
            return value;
        }
    return otherwise;
}

static long amount(const struct request *r, const char *name, long otherwise) {
    const char *value = asked(r, name, NULL);
    return value ? atol(value) : otherwise;
}

/* ---- answers ---- */

static int put(int fd, const void *data, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(fd, (const char *)data + done, length - done, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        done += (size_t)sent;
    }
    return 0;
}

static int putf(int fd, const char *format, ...) {
    char text[2048];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return put(fd, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

static void head(struct request *r, int status, const char *type, const char *more) {
    if (putf(r->fd, "HTTP/1.1 %d Told\r\nContent-Type: %s\r\nX-Boot: %08x\r\n%s\r\n", status, type, boot, more))
        r->keep = 0;
}

static void reply(struct request *r, int status, const char *type, const void *body, size_t length) {
    char size[64];
    snprintf(size, sizeof size, "Content-Length: %zu\r\n", length);
    head(r, status, type, size);
    if (strcmp(r->method, "HEAD") && put(r->fd, body, length)) r->keep = 0;
}

static void text(struct request *r, const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    reply(r, 200, "text/plain", line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

/* ---- what a request can ask for ---- */

static void plain(struct request *r) { text(r, "ok\n"); }
static void echo_head(struct request *r) { reply(r, 200, "text/plain", r->head, strlen(r->head)); }
static void echo_body(struct request *r) { reply(r, 200, "application/octet-stream", r->body, r->length); }
static void slow(struct request *r) { pause_for(amount(r, "ms", 1000)); text(r, "at last\n"); }
static void load(struct request *r) { text(r, "requests %d most-at-once %d\n", requests, most); }
static void leave(struct request *r) { exit((int)amount(r, "code", ABRUPT)); }
static void crash(struct request *r) { (void)r; abort(); }
static void reset(struct request *r) { r->keep = 0; }
static void garbage(struct request *r) { putf(r->fd, "This is no HTTP at all\r\n\r\n"); r->keep = 0; }

static void status(struct request *r) {
    char more[600] = "Content-Length: 8\r\n";
    const char *told = asked(r, "fc", NULL);
    if (told) snprintf(more, sizeof more, "Content-Length: 8\r\nX-Fc-Status: %s\r\n", told);
    head(r, (int)amount(r, "code", 500), "text/plain", more);
    if (strcmp(r->method, "HEAD") && put(r->fd, "as told\n", 8)) r->keep = 0;
}

static void print_call(const struct request *r, const char *name) {     /* and what the platform calls it */
    const char *id = strcasestr(r->head, "\r\nx-fc-request-id: ");
    const char *path = strcasestr(r->head, "\r\nx-fc-control-path: ");
    id = id ? id + 19 : "-";
    path = path ? path + 21 : "-";
    printf("%s %.*s %.*s\n", name, (int)strcspn(path, "\r"), path, (int)strcspn(id, "\r"), id);
}

static void initialize(struct request *r) {
    const char *how = word("init");
    if (how && !strcmp(how, "hang")) for (;;) pause();
    print_call(r, "initialize");
    if (how && strstr(how, "ms")) { pause_for(atol(how)); how = NULL; }
    reply(r, how ? atoi(how) : 200, "text/plain", "initialize\n", 11);
}

static void pre_stop(struct request *r) {
    const char *how = word("leave");
    print_call(r, "pre-stop");
    if (how) pause_for(atol(how));
    text(r, "pre-stop\n");
}

static void drip(struct request *r) {                   /* a body of known length, byte by byte */
    long bytes = amount(r, "bytes", 10), ms = amount(r, "ms", 100);
    char size[64];
    snprintf(size, sizeof size, "Content-Length: %ld\r\n", bytes);
    head(r, 200, "text/plain", size);
    for (long n = 0; n < bytes && r->keep; n++) { pause_for(ms); if (put(r->fd, ".", 1)) r->keep = 0; }
}

static void chunked(struct request *r) {
    long n = amount(r, "n", 5), ms = amount(r, "ms", 100);
    head(r, 200, "text/plain", "Transfer-Encoding: chunked\r\n");
    for (long i = 0; i < n && r->keep; i++) {
        char line[32];
        int length = snprintf(line, sizeof line, "chunk %ld\n", i);
        if (putf(r->fd, "%x\r\n%s\r\n", length, line)) r->keep = 0;
        pause_for(ms);
    }
    if (putf(r->fd, "0\r\n\r\n")) r->keep = 0;
}

static void events(struct request *r) {                 /* server-sent events, ended by closing */
    long n = amount(r, "n", 5), ms = amount(r, "ms", 100);
    head(r, 200, "text/event-stream", "Cache-Control: no-store\r\nConnection: close\r\n");
    for (long i = 0; i < n; i++) {
        if (putf(r->fd, "id: %ld\ndata: event %ld\n\n", i, i)) break;
        pause_for(ms);
    }
    r->keep = 0;
}

static void zeros(struct request *r) {                  /* a large body, as fast as it goes */
    static const char block[65536];
    long left = amount(r, "bytes", 1 << 20);
    char size[64];
    snprintf(size, sizeof size, "Content-Length: %ld\r\n", left);
    head(r, 200, "application/octet-stream", size);
    for (; left > 0 && r->keep; left -= sizeof block)
        if (put(r->fd, block, left < (long)sizeof block ? (size_t)left : sizeof block)) r->keep = 0;
}

static void cut(struct request *r) {                    /* promises 100 bytes, sends 10, closes */
    head(r, 200, "text/plain", "Content-Length: 100\r\n");
    put(r->fd, "ten bytes.", 10);
    r->keep = 0;
}

static void many_headers(struct request *r) {
    putf(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
    for (long left = amount(r, "bytes", 64 << 10), n = 0; left > 0; left -= 100, n++)
        if (putf(r->fd, "X-Large-%04ld: %084d\r\n", n, 0)) break;
    if (putf(r->fd, "\r\n")) r->keep = 0;
}

static void print(struct request *r) {
    long lines = amount(r, "lines", 1000), bytes = amount(r, "bytes", 80), from = amount(r, "from", 0);
    FILE *out = strcmp(asked(r, "to", "stdout"), "stderr") ? stdout : stderr;
    for (long n = 0; n < lines; n++) fprintf(out, "line %ld %0*d\n", from + n, (int)(bytes > 16 ? bytes - 16 : 1), 0);
    text(r, "printed %ld\n", lines);
}

static void eat_memory(long mb) {
    for (long n = 0; n < mb; n++) {
        char *block = malloc(1 << 20);
        if (!block) break;
        memset(block, 1, 1 << 20);
        __asm__ volatile("" : : "r"(block) : "memory");  /* or the compiler drops what nobody reads */
    }
}

static void eat(struct request *r) { eat_memory(amount(r, "mb", 1024)); text(r, "eaten\n"); }

static void burn(struct request *r) {                   /* CPU time, not waiting time */
    struct timespec now;
    long until = -1, at;
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        at = now.tv_sec * 1000 + now.tv_nsec / 1000000;
        if (until < 0) until = at + amount(r, "ms", 100);
    } while (at < until);
    text(r, "burnt\n");
}

static void write_file(struct request *r) {
    static const char block[65536];
    long wanted = amount(r, "mb", 1) << 20, done = 0;
    int fd = open(asked(r, "path", "/tmp/written"), O_WRONLY | O_CREAT | O_APPEND, 0600), why = errno;
    for (ssize_t got = 0; fd >= 0 && done < wanted; done += got)
        if ((got = write(fd, block, sizeof block)) < 0) { why = errno; break; }
    if (fd >= 0) close(fd);
    text(r, "wrote %ld of %ld %s\n", done, wanted, done < wanted ? strerrorname_np(why) : "ok");
}

static void read_file(struct request *r) {
    static _Thread_local char content[HEAD];
    int fd = open(asked(r, "path", "/proc/self/status"), O_RDONLY);
    if (fd < 0) { text(r, "%s\n", strerrorname_np(errno)); return; }
    size_t length = 0;
    for (ssize_t got; (got = read(fd, content + length, sizeof content - length)) > 0;) length += (size_t)got;
    close(fd);
    reply(r, 200, "text/plain", content, length);
}

static void connect_to(struct request *r) {             /* by address, waiting two seconds at most */
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)amount(r, "port", 80)) };
    inet_pton(AF_INET, asked(r, "host", "127.0.0.1"), &at.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), why = 0;
    if (connect(fd, (struct sockaddr *)&at, sizeof at)) why = errno;
    if (why == EINPROGRESS) {
        struct pollfd one = { fd, POLLOUT, 0 };
        socklen_t length = sizeof why;
        why = ETIMEDOUT;
        if (poll(&one, 1, 2000) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &length);
    }
    close(fd);
    text(r, "%s\n", why ? strerrorname_np(why) : "connected");
}

static void fork_many(struct request *r) {
    long wanted = amount(r, "n", 10), made = 0;
    int why = 0;
    for (; made < wanted; made++) {
        pid_t child = fork();
        if (child < 0) { why = errno; break; }
        if (!child) for (;;) pause();
    }
    text(r, "forked %ld of %ld %s\n", made, wanted, why ? strerrorname_np(why) : "ok");
}

static void lines(struct request *r, char **list) {
    static _Thread_local char all[HEAD];
    size_t length = 0;
    for (; *list && length < sizeof all - 1; list++)
        length += (size_t)snprintf(all + length, sizeof all - length, "%s\n", *list);
    reply(r, 200, "text/plain", all, length < sizeof all ? length : sizeof all - 1);
}

static void environment(struct request *r) { lines(r, environ); }
static void words(struct request *r) { lines(r, arguments); }

/* ---- websocket: RFC 6455, echo of frames up to 64 KiB ---- */

static uint32_t turn(uint32_t value, int by) { return value << by | value >> (32 - by); }

static void sha1(const char *data, size_t length, uint8_t result[20]) {     /* RFC 3174; one or two blocks */
    uint32_t h[5] = { 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0 };
    uint8_t block[128] = { 0 };
    size_t blocks = length + 9 > 64 ? 2 : 1;
    memcpy(block, data, length);
    block[length] = 0x80;
    block[blocks * 64 - 2] = (uint8_t)(length * 8 >> 8);
    block[blocks * 64 - 1] = (uint8_t)(length * 8);
    for (size_t n = 0; n < blocks; n++) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int t = 0; t < 16; t++) {
            uint8_t *at = block + n * 64 + t * 4;
            w[t] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        }
        for (int t = 16; t < 80; t++) w[t] = turn(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
        for (int t = 0; t < 80; t++) {
            uint32_t f = t < 20 ? (b & c) | (~b & d) : t >= 40 && t < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            uint32_t k = t < 20 ? 0x5A827999 : t < 40 ? 0x6ED9EBA1 : t < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t next = turn(a, 5) + f + e + k + w[t];
            e = d; d = c; c = turn(b, 30); b = a; a = next;
        }
        h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e;
    }
    for (int n = 0; n < 20; n++) result[n] = (uint8_t)(h[n / 4] >> (24 - n % 4 * 8));
}

static int take(int fd, void *into, size_t length) { return recv(fd, into, length, MSG_WAITALL) == (ssize_t)length; }

static void websocket(struct request *r) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *key = strcasestr(r->head, "\r\nsec-websocket-key: ");
    if (!key) { reply(r, 400, "text/plain", "no websocket\n", 13); return; }
    char joined[128], accept[32];
    uint8_t hash[21] = { 0 };
    int length = snprintf(joined, sizeof joined, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 21);
    sha1(joined, (size_t)length, hash);
    for (int n = 0; n < 27; n++) {
        int bit = n * 6;
        accept[n] = digits[(hash[bit / 8] << 8 | hash[bit / 8 + 1]) >> (10 - bit % 8) & 63];
    }
    accept[27] = '=';
    accept[28] = 0;
    putf(r->fd, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    r->keep = 0;
    uint8_t start[4], mask[4], *content = malloc(65536);
    while (content && take(r->fd, start, 2)) {
        size_t size = start[1] & 127;
        if (size == 127 || (size == 126 && !take(r->fd, start + 2, 2))) break;
        if (size == 126) size = (size_t)start[2] << 8 | start[3];
        if (!take(r->fd, mask, 4) || (size && !take(r->fd, content, size))) break;
        for (size_t n = 0; n < size; n++) content[n] ^= mask[n % 4];
        if ((start[0] & 15) == 9) start[0] = 0x8A;          /* a ping is answered by a pong */
        start[1] &= 127;
        put(r->fd, start, start[1] == 126 ? 4 : 2);
        put(r->fd, content, size);
        if ((start[0] & 15) == 8) break;
    }
    free(content);
}

static void event(struct request *);

static const struct { const char *path; void (*act)(struct request *); } ROUTES[] = {
    { "/head", echo_head },         /* the request's head as it arrived */
    { "/body", echo_body },         /* the request's body */
    { "/invoke", event },           /* an event call: the event, or, where that is a path, what the path says */
    { "/initialize", initialize },
    { "/pre-stop", pre_stop },
    { "/status", status },          /* ?code= &fc= X-Fc-Status */
    { "/slow", slow },              /* ?ms= */
    { "/drip", drip },              /* ?bytes= &ms= between two */
    { "/chunked", chunked },        /* ?n= &ms= */
    { "/events", events },          /* ?n= &ms= */
    { "/zeros", zeros },            /* ?bytes= */
    { "/cut", cut },
    { "/reset", reset },            /* closes without an answer */
    { "/garbage", garbage },
    { "/headers", many_headers },   /* ?bytes= */
    { "/print", print },            /* ?lines= &bytes= &from= &to=stderr */
    { "/eat", eat },                /* ?mb= */
    { "/burn", burn },              /* ?ms= */
    { "/write", write_file },       /* ?mb= &path= */
    { "/read", read_file },         /* ?path= */
    { "/connect", connect_to },     /* ?host= &port= */
    { "/fork", fork_many },         /* ?n= */
    { "/exit", leave },             /* ?code= */
    { "/crash", crash },
    { "/load", load },              /* requests so far, most at once */
    { "/environment", environment },
    { "/arguments", words },
    { "/ws", websocket },
};

static void (*chosen(const char *path))(struct request *) {
    for (size_t n = 0; n < sizeof ROUTES / sizeof *ROUTES; n++)
        if (!strcmp(ROUTES[n].path, path)) return ROUTES[n].act;
    return plain;
}

static void event(struct request *r) {
    static _Thread_local char target[sizeof r->path];
    if (!r->length || *r->body != '/' || r->length >= sizeof target) { echo_body(r); return; }
    memcpy(target, r->body, r->length);
    target[r->length] = 0;
    size_t path = strcspn(target, "?");
    r->query = target[path] ? target + path + 1 : "";
    target[path] = 0;
    chosen(target)(r);
}

/* ---- connections ---- */

static void act(struct request *r) {
    int now = ++flying, seen = most;
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {}
    int served = ++requests;
    chosen(r->path)(r);
    flying--;
    if (served == counted("exit-after", -1)) exit(ABRUPT);
}

/* `length` bytes of the body, the first of them from what was read with the head. */
static int gather(struct request *r, char *into, size_t length) {
    size_t early = length < r->extras ? length : r->extras;
    memcpy(into, r->extra, early);
    r->extra += early;
    r->extras -= early;
    return early == length || take(r->fd, into + early, length - early);
}

static int read_chunks(struct request *r) {
    for (;;) {
        char line[32] = "";
        for (size_t n = 0; n < sizeof line - 1; n++) {
            if (!gather(r, line + n, 1)) return 0;
            if (line[n] == '\n') break;
        }
        size_t size = strtoul(line, NULL, 16);
        char end[2];
        if (r->length + size > BODY || !gather(r, r->body + r->length, size) || !gather(r, end, 2)) return 0;
        r->length += size;
        if (!size) return 1;
    }
}

static int read_body(struct request *r) {
    const char *length = strcasestr(r->head, "\r\ncontent-length:");
    if (strcasestr(r->head, "\r\nexpect: 100-continue")) putf(r->fd, "HTTP/1.1 100 Continue\r\n\r\n");
    r->length = 0;
    if (strcasestr(r->head, "\r\ntransfer-encoding: chunked")) return read_chunks(r);
    if (!length) return 1;
    r->length = strtoul(length + 17, NULL, 10);
    return r->length <= BODY && gather(r, r->body, r->length);
}

/* One request from the connection. Returns 0 when there is none. */
static int read_request(struct request *r) {
    size_t used = r->extras;
    char *end;
    memmove(r->head, r->extra, used);
    for (r->head[used] = 0; !(end = strstr(r->head, "\r\n\r\n")); r->head[used] = 0) {
        ssize_t got = used < HEAD - 1 ? recv(r->fd, r->head + used, HEAD - 1 - used, 0) : 0;
        if (got <= 0) return 0;
        used += (size_t)got;
    }
    static _Thread_local char beyond[HEAD];
    r->extras = used - (size_t)(end + 4 - r->head);
    r->extra = memcpy(beyond, end + 4, r->extras);
    end[4] = 0;
    char target[8192] = "";
    sscanf(r->head, "%15s %8191s", r->method, target);
    char *mark = strchr(target, '?');
    static _Thread_local char query[8192];
    strcpy(query, mark ? mark + 1 : "");
    r->query = query;
    snprintf(r->path, sizeof r->path, "%.*s", (int)strcspn(target, "?"), target);
    r->keep = !strcasestr(r->head, "\r\nconnection: close");
    return read_body(r);
}

static void *connection(void *given) {
    struct request r = { .fd = (int)(intptr_t)given, .head = malloc(HEAD), .body = malloc(BODY) };
    r.extra = r.head;
    if (r.head && r.body)
        while (read_request(&r)) { act(&r); if (!r.keep) break; }
    close(r.fd);
    free(r.head);
    free(r.body);
    return NULL;
}

static void *end_later(void *ms) { pause_for((intptr_t)ms); exit(ABRUPT); }

static void *on_terminate(void *given) {
    const sigset_t *set = given;
    int signal = 0;
    for (;;) {
        sigwait(set, &signal);
        const char *how = word("term");
        printf("terminated\n");
        if (how && !strcmp(how, "ignore")) continue;
        pause_for(how ? atol(how) : 0);
        exit(0);
    }
}

static void start(void *(*run)(void *), void *given) {
    pthread_t thread;
    if (!pthread_create(&thread, NULL, run, given)) pthread_detach(thread);
    else if (run == connection) close((int)(intptr_t)given);
}

static int listen_at(long port) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (!bind(fd, (struct sockaddr *)&at, sizeof at) && !listen(fd, 512)) return fd;
    perror("listen");
    exit(1);
}

int main(int count, char **given) {
    (void)count;
    arguments = given;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getrandom(&boot, sizeof boot, 0) < 0) boot = (unsigned)getpid();
    static sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    start(on_terminate, &set);
    if (word("exit")) { fprintf(stderr, "leaving as told\n"); return atoi(word("exit")); }
    if (word("exit-in")) start(end_later, (void *)(intptr_t)counted("exit-in", 0));
    eat_memory(counted("eat", 0));
    const char *when = word("listen");
    if (when && !strcmp(when, "never")) { printf("shall not listen\n"); for (;;) pause(); }
    pause_for(when ? atol(when) : 0);
    const char *told = getenv("FC_CUSTOM_LISTEN_PORT");
    int listener = listen_at(counted("port", told && *told ? atol(told) : 9000));
    printf("misbehave listens\n");
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) start(connection, (void *)(intptr_t)fd);
    }
}
