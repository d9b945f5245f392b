/* The lean origin of the macro benchmark: one thread, epoll, answers made before the first request.
 *
 * It must cost less than any proxy, or it would be what is measured: no copying, no allocation per
 * request, one read and one write for a small exchange.
 *
 * The second byte of the path's last component selects the answer:
 *     .../n  nothing     .../s  5 bytes     .../k  10 KiB     .../m  1 MiB
 * Bodies of requests are read and dropped; only Content-Length is understood.
 * Prints the port it listens on (127.0.0.1) and serves until it is killed or its standard input ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WINDOW = 16384, SHARED = 1 << 18, CONNECTIONS = 65536 };

struct answer { char *data; size_t size; };

struct connection {
    size_t used;             /* bytes of an incomplete head in `head` */
    size_t body;             /* bytes of the request's body still to come */
    const char *pending;     /* what the socket did not take */
    size_t pending_size;
    struct answer *waiting;  /* to be sent when the body has been read */
    char *head;
    int wants_write;
};

static struct answer empty, small, medium, large;
static struct connection *table[CONNECTIONS];
static char shared[SHARED + 1];
static int poll_set;

static struct answer make(size_t size) {
    char head[256];
    int n = snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
        "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", size);
    struct answer a = { malloc((size_t)n + size), (size_t)n + size };
    memcpy(a.data, head, (size_t)n);
    memset(a.data + n, 'x', size);
    return a;
}

static void drop(int fd) {
    free(table[fd]->head);
    free(table[fd]);
    table[fd] = NULL;
    close(fd);
}

static void watch(int fd, int writing) {
    struct epoll_event event = { .events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.fd = fd };
    epoll_ctl(poll_set, EPOLL_CTL_MOD, fd, &event);
    table[fd]->wants_write = writing;
}

/* -1: the connection is gone */
static int send_pending(int fd, struct connection *c) {
    while (c->pending_size) {
        ssize_t n = send(fd, c->pending, c->pending_size, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return drop(fd), -1;
            if (!c->wants_write) watch(fd, 1);
            return 0;
        }
        c->pending += n;
        c->pending_size -= (size_t)n;
    }
    if (c->wants_write) watch(fd, 0);
    return 0;
}

static int answer(int fd, struct connection *c, struct answer *a) {
    c->pending = a->data;
    c->pending_size = a->size;
    return send_pending(fd, c);
}

static int head(int fd, struct connection *c, const char *data, const char *end) {
    const char *target = memchr(data, ' ', (size_t)(end - data));
    const char *stop = target ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;
    struct answer *a = &small;
    size_t body = 0;
    if (!stop) return drop(fd), -1;
    if (stop[-1] == 'n') a = &empty;
    if (stop[-1] == 'k') a = &medium;
    if (stop[-1] == 'm') a = &large;
    if (data[0] == 'P') {
        const char *field = data;
        while ((field = memchr(field, '\n', (size_t)(end - field))) && ++field < end)
            if ((*field == 'C' || *field == 'c') && !strncasecmp(field, "content-length:", 15))
                body = strtoul(field + 15, NULL, 10);
    }
    c->body = body;
    if (body) { c->waiting = a; return 0; }
    return answer(fd, c, a);
}

static void readable(int fd) {
    struct connection *c = table[fd];
    char *data = shared;
    size_t size = c->used;
    ssize_t n;
    if (c->used) memcpy(shared, c->head, c->used);
    n = recv(fd, shared + size, SHARED - size, 0);
    if (n <= 0) { if (n == 0 || errno != EAGAIN) drop(fd); return; }
    size += (size_t)n;
    c->used = 0;
    while (size) {
        if (c->body) {
            size_t part = size < c->body ? size : c->body;
            c->body -= part; data += part; size -= part;
            if (!c->body && answer(fd, c, c->waiting) < 0) return;
            continue;
        }
        char *end = memmem(data, size, "\r\n\r\n", 4);
        if (!end) break;
        size -= (size_t)(end + 4 - data);
        char *begin = data;
        data = end + 4;
        if (head(fd, c, begin, end) < 0) return;
    }
    if (size) {
        if (size > WINDOW) { drop(fd); return; }
        if (!c->head) c->head = malloc(WINDOW);
        memcpy(c->head, data, size);
        c->used = size;
    }
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
        if (fd >= CONNECTIONS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        table[fd] = calloc(1, sizeof(struct connection));
        epoll_ctl(poll_set, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    struct epoll_event events[512], event = { .events = EPOLLIN };
    struct rlimit files = { CONNECTIONS, CONNECTIONS };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setrlimit(RLIMIT_NOFILE, &files);
    empty = make(0);
    small = make(5); medium = make(10240); large = make(1 << 20);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        return perror("listen"), 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poll_set = epoll_create1(EPOLL_CLOEXEC);
    event.data.fd = listener;
    epoll_ctl(poll_set, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = 0;
    epoll_ctl(poll_set, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int count = epoll_wait(poll_set, events, 512, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) { accept_all(listener); continue; }
            if (fd == 0) return 0;
            if (!table[fd]) continue;
            if (events[i].events & EPOLLOUT && send_pending(fd, table[fd]) < 0) continue;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(fd);
        }
    }
}
