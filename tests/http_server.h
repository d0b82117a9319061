/* An HTTP server for tests, in a thread on 127.0.0.1: one request a connection, one connection at a time, and
 * what it says is the test's.
 *
 *     server.reply = good;                        // const char *good(int n, const char *request)
 *     assert_int_equal(server_start(), 0);        // server.port, server.n_requests, server.last
 *     server_stop();
 */
#ifndef WINNOW_TESTS_HTTP_SERVER_H
#define WINNOW_TESTS_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_SIZE = 1 << 16 };

static struct {
    int listener, port;
    pthread_t thread;
    atomic_bool stop;
    atomic_int n_requests;
    /* What request n (from 0) gets; NULL: the connection is closed without a word. */
    const char *(*reply)(int n, const char *request);
    atomic_int delay_ms;
    char last[REQUEST_SIZE]; /* the last request, head and body */
} server;

static inline void send_all(int client, const char *text)
{
    for (size_t n = strlen(text), sent = 0; sent < n;) {
        ssize_t more = send(client, text + sent, n - sent, MSG_NOSIGNAL);
        if (more <= 0)
            return;
        sent += (size_t)more;
    }
}

static inline void serve(int client)
{
    static char request[REQUEST_SIZE];
    size_t n = 0, wanted = REQUEST_SIZE;
    request[0] = '\0';
    while (n < wanted && n + 1 < REQUEST_SIZE) {
        ssize_t more = recv(client, request + n, REQUEST_SIZE - 1 - n, 0);
        if (more <= 0)
            return;
        n += (size_t)more;
        request[n] = '\0';
        const char *body = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "content-length:");
        if (body && length)
            wanted = (size_t)(body + 4 - request) + strtoul(length + 15, NULL, 10);
    }
    memcpy(server.last, request, n + 1);
    int number = atomic_fetch_add(&server.n_requests, 1);
    usleep((useconds_t)atomic_load(&server.delay_ms) * 1000);
    const char *reply = server.reply(number, request);
    if (reply)
        send_all(client, reply);
}

static inline void *server_main(void *unused)
{
    (void)unused;
    for (;;) {
        int client = accept(server.listener, NULL, NULL);
        if (atomic_load(&server.stop)) {
            close(client);
            return NULL;
        }
        if (client < 0)
            continue;
        serve(client);
        close(client);
    }
}

static inline int server_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server.listener < 0 || bind(server.listener, (struct sockaddr *)&address, size) != 0 ||
        listen(server.listener, 64) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    server.port = ntohs(address.sin_port);
    atomic_store(&server.stop, false);
    atomic_store(&server.n_requests, 0);
    atomic_store(&server.delay_ms, 0);
    return pthread_create(&server.thread, NULL, server_main, NULL);
}

static inline void server_stop(void)
{
    if (server.listener < 0)
        return;
    atomic_store(&server.stop, true);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int wake = socket(AF_INET, SOCK_STREAM, 0);
    connect(wake, (struct sockaddr *)&address, sizeof address);
    pthread_join(server.thread, NULL);
    close(wake);
    close(server.listener);
    server.listener = -1;
}

/* "HTTP/1.1 STATUS" with a body; lives until the next call of the same thread. */
static inline const char *http(const char *status, const char *headers, const char *body)
{
    static char text[3 << 20];
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", status,
             headers, strlen(body), body);
    return text;
}

#endif
