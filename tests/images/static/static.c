/* A web server of a few kilobytes without a libc: the smallest function there can be.
 *
 * Its own start takes about a millisecond, so whatever more a cold start of it takes is the platform's.
 * Answers every request with 200 and "hello\n" (HEAD: without the body), keeps connections open, skips request
 * bodies, ends on SIGTERM. Arguments: [port], 9000 without one. One thread; x86-64 only.
 */

#ifndef __x86_64__
#error "static.c knows the system calls of x86-64 only"
#endif

typedef unsigned long size;
enum { READ = 0, WRITE = 1, CLOSE = 3, POLL = 7, RT_SIGPROCMASK = 14, SOCKET = 41, SENDTO = 44, BIND = 49, LISTEN = 50,
       SETSOCKOPT = 54, EXIT = 231, ACCEPT4 = 288, SIGNALFD4 = 289 };
enum { POLLIN = 1, MSG_NOSIGNAL = 0x4000, CONNECTIONS = 256, BUFFER = 16384 };

static long call(long number, long a, long b, long c, long d, long e) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
enum { BODY = 6 };

struct watched { int fd; short events, revents; };
struct connection { size used, skip; char text[BUFFER]; };
static struct watched watched[CONNECTIONS + 2];
static struct connection connections[CONNECTIONS + 2]; /* beside watched; the first two are not used */

static void say(const char *text, size length) { call(WRITE, 1, (long)text, length, 0, 0); }

static long send(int fd, const char *text, size length) {
    return call(SENDTO, fd, (long)text, (long)length, MSG_NOSIGNAL, 0);
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

/* Where `name` (lower case) begins in text[0..length), or 0: the request line holds no header. */
static size find(const char *text, size length, const char *name) {
    for (size at = 0; at < length; at++) {
        size n = 0;
        while (name[n] && at + n < length && lower(text[at + n]) == name[n]) n++;
        if (!name[n]) return at;
    }
    return 0;
}

static size number(const char *text) {
    size value = 0;
    while (*text == ' ') text++;
    while (*text >= '0' && *text <= '9') value = value * 10 + (size)(*text++ - '0');
    return value;
}

/* Answers what is complete in the connection's buffer. Returns 0 when the connection is to be closed. */
static int answer(int fd, struct connection *one) {
    for (;;) {
        size taken = one->skip < one->used ? one->skip : one->used;
        one->skip -= taken;
        one->used -= taken;
        for (size n = 0; n < one->used; n++) one->text[n] = one->text[n + taken];
        one->text[one->used] = 0;
        size end = find(one->text, one->used, "\r\n\r\n");
        if (one->skip || !end) return one->used < BUFFER - 1;
        size length = find(one->text, end, "\r\ncontent-length:");
        if (find(one->text, end, "\r\nexpect:")) send(fd, CONTINUE, sizeof CONTINUE - 1);
        one->skip = end + 4 + (length ? number(one->text + length + 17) : 0);
        size bytes = sizeof ANSWER - 1 - (one->text[0] == 'H' ? BODY : 0);
        if (send(fd, ANSWER, bytes) != (long)bytes) return 0;
        if (find(one->text, end, "\r\nconnection: close")) return 0;
    }
}

static void serve(int port) {
    struct { unsigned short family, port; unsigned address; size zero; } at =
        { 2, (unsigned short)(port << 8 | (port >> 8 & 255)), 0, 0 };
    int yes = 1;
    size count = 2, terminate = 1UL << 14;
    long listener = call(SOCKET, 2, 1, 0, 0, 0);
    call(SETSOCKOPT, listener, 1, 2, (long)&yes, sizeof yes);
    if (call(BIND, listener, (long)&at, 16, 0, 0) || call(LISTEN, listener, 512, 0, 0, 0)) {
        say("cannot listen\n", 14);
        call(EXIT, 1, 0, 0, 0, 0);
    }
    call(RT_SIGPROCMASK, 0, (long)&terminate, 0, 8, 0);
    watched[0] = (struct watched){ (int)call(SIGNALFD4, -1, (long)&terminate, 8, 0, 0), POLLIN, 0 };
    watched[1] = (struct watched){ (int)listener, POLLIN, 0 };
    say("static listens\n", 15);
    for (;;) {
        watched[1].events = count < CONNECTIONS + 2 ? POLLIN : 0;
        call(POLL, (long)watched, (long)count, -1, 0, 0);
        if (watched[0].revents) call(EXIT, 0, 0, 0, 0, 0);
        for (size n = count; n-- > 2;) {
            if (!watched[n].revents) continue;
            struct connection *one = &connections[n];
            long got = call(READ, watched[n].fd, (long)(one->text + one->used), BUFFER - 1 - (long)one->used, 0, 0);
            if (got > 0) one->used += (size)got;
            if (got <= 0 || !answer(watched[n].fd, one)) {
                call(CLOSE, watched[n].fd, 0, 0, 0, 0);
                watched[n] = watched[--count];
                for (size byte = 0; byte < sizeof *one; byte++)
                    ((char *)one)[byte] = ((char *)&connections[count])[byte];
            }
        }
        if (watched[1].revents) {
            long fd = call(ACCEPT4, listener, 0, 0, 0, 0);
            if (fd < 0) continue;
            connections[count].used = connections[count].skip = 0;
            watched[count++] = (struct watched){ (int)fd, POLLIN, 0 };
        }
    }
}

__attribute__((used)) static void begin(long *stack) {
    const char **arguments = (const char **)(stack + 1);
    serve(stack[0] > 1 ? (int)number(arguments[1]) : 9000);
}

/* The kernel enters here with the arguments on the stack. */
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall begin\n");
