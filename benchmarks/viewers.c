/* Many viewers of an MJPEG stream in one process: each a TCP connection of its own, which reads all that comes.
 *
 *   viewers PORT REQUEST VIEWERS THROTTLED BYTES_PER_S
 *
 * REQUEST is what each sends. The first THROTTLED read no faster than BYTES_PER_S. Says "watching" when every viewer has
 * had a frame. Then counts from "start" to "stop", lines on standard input, and ends with a line of JSON: for each
 * viewer the frames and bytes received, frames lost (by the number that v4l2_shim.c stamps on them), the age of each
 * frame in microseconds when its last byte was here, and whether the stream ended.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_SIZE 4096
#define STAMP_AT 6 /* of v4l2_shim.c */
#define STAMP_SIZE 64
#define TICK_MS 10
#define BURST_S 0.1 /* of a throttled viewer: what it may catch up after a pause */

struct viewer {
    int fd;
    bool answered, ended;
    char head[HEAD_SIZE + 1]; /* of a part, or of the answer, as far as it is here */
    size_t head_length;
    size_t body_left, body_had; /* of the part that is being read */
    char stamp[STAMP_SIZE + 1]; /* the part's first bytes */
    double allowance;
    uint64_t frames, bytes, lost;
    long long last_number;
    uint32_t *ages;
    size_t ages_count, ages_room;
};

static struct viewer *viewers;
static int count, throttled;
static bool counting;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void die(const char *what) {
    fprintf(stderr, "viewers: %s\n", what);
    exit(1);
}

static void keep_age(struct viewer *viewer, uint32_t age) {
    if (viewer->ages_count == viewer->ages_room) {
        viewer->ages_room = viewer->ages_room * 2 + 1024;
        viewer->ages = realloc(viewer->ages, viewer->ages_room * sizeof *viewer->ages);
        if (viewer->ages == NULL) die("out of memory");
    }
    viewer->ages[viewer->ages_count++] = age;
}

static void end_of_frame(struct viewer *viewer) {
    unsigned number;
    unsigned long long us;
    viewer->frames++;
    viewer->stamp[viewer->body_had < STAMP_SIZE ? viewer->body_had : STAMP_SIZE] = '\0';
    if (sscanf(viewer->stamp + STAMP_AT, "piapi n=%u us=%llu", &number, &us) != 2 || us == 0) return;
    if (counting) {
        keep_age(viewer, (uint32_t)(now_us() - (int64_t)us));
        if (viewer->last_number >= 0 && number > viewer->last_number + 1)
            viewer->lost += (uint64_t)(number - viewer->last_number - 1);
    }
    viewer->last_number = number;
}

/* A head is whole: the answer's own, a part's, or what chunked encoding leaves between them. */
static void end_of_head(struct viewer *viewer) {
    viewer->head[viewer->head_length] = '\0';
    if (!viewer->answered && strncmp(viewer->head, "HTTP/1.1 200", 12) && strncmp(viewer->head, "HTTP/1.0 200", 12)) {
        fprintf(stderr, "viewers: %.*s\n", (int)strcspn(viewer->head, "\r\n"), viewer->head);
        exit(1);
    }
    viewer->answered = true;
    const char *length = strcasestr(viewer->head, "Content-Length:");
    viewer->body_left = length == NULL ? 0 : strtoul(length + strlen("Content-Length:"), NULL, 10);
    viewer->body_had = 0;
    viewer->head_length = 0;
}

/* Copy up to and with the empty line that ends a head; how much of the data that was. */
static size_t read_head(struct viewer *viewer, const char *data, size_t length) {
    for (size_t at = 0; at < length; at++) {
        if (viewer->head_length == HEAD_SIZE) die("a header without end");
        viewer->head[viewer->head_length++] = data[at];
        if (data[at] == '\n' && viewer->head_length >= 4 &&
            memcmp(viewer->head + viewer->head_length - 4, "\r\n\r\n", 4) == 0) {
            end_of_head(viewer);
            return at + 1;
        }
    }
    return length;
}

static size_t read_body(struct viewer *viewer, const char *data, size_t length) {
    size_t taken = length < viewer->body_left ? length : viewer->body_left;
    if (viewer->body_had < STAMP_SIZE) {
        size_t room = STAMP_SIZE - viewer->body_had;
        memcpy(viewer->stamp + viewer->body_had, data, taken < room ? taken : room);
    }
    viewer->body_had += taken;
    viewer->body_left -= taken;
    if (viewer->body_left == 0) end_of_frame(viewer);
    return taken;
}

static ssize_t receive(struct viewer *viewer, size_t most) {
    static char buffer[1 << 18];
    ssize_t length = recv(viewer->fd, buffer, most < sizeof buffer ? most : sizeof buffer, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (length <= 0) {
        viewer->ended = true;
        close(viewer->fd);
        return 0;
    }
    viewer->bytes += (uint64_t)length;
    for (size_t at = 0; at < (size_t)length;)
        at += viewer->body_left > 0 ? read_body(viewer, buffer + at, (size_t)length - at)
                                    : read_head(viewer, buffer + at, (size_t)length - at);
    return length;
}

static void connect_viewer(struct viewer *viewer, int port, const char *request) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    viewer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (viewer->fd < 0 || connect(viewer->fd, (struct sockaddr *)&address, sizeof address) != 0) die("cannot connect");
    if (send(viewer->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) die("cannot send");
    fcntl(viewer->fd, F_SETFL, O_NONBLOCK);
    viewer->last_number = -1;
}

static void start(void) {
    for (int i = 0; i < count; i++) viewers[i].frames = viewers[i].bytes = viewers[i].lost = 0;
    counting = true;
}

static void report(void) {
    printf("[");
    for (int i = 0; i < count; i++) {
        struct viewer *viewer = &viewers[i];
        printf("%s{\"frames\": %llu, \"bytes\": %llu, \"lost\": %llu, \"ended\": %s, \"ages_us\": [", i ? ", " : "",
               (unsigned long long)viewer->frames, (unsigned long long)viewer->bytes, (unsigned long long)viewer->lost,
               viewer->ended ? "true" : "false");
        for (size_t age = 0; age < viewer->ages_count; age++) printf("%s%u", age ? "," : "", viewer->ages[age]);
        printf("]}");
    }
    printf("]\n");
    exit(0);
}

static void command(void) {
    char line[64];
    ssize_t length = read(STDIN_FILENO, line, sizeof line - 1);
    if (length <= 0) exit(1); /* who started us has gone */
    line[length] = '\0';
    if (strncmp(line, "start", 5) == 0) start();
    else if (strncmp(line, "stop", 4) == 0) report();
}

/* What each throttled viewer may read since the last time. */
static void read_slowly(double rate, int64_t elapsed_us) {
    for (int i = 0; i < throttled; i++) {
        struct viewer *viewer = &viewers[i];
        viewer->allowance += rate * (double)elapsed_us / 1e6;
        if (viewer->allowance > rate * BURST_S) viewer->allowance = rate * BURST_S;
        if (!viewer->ended && viewer->allowance >= 1) viewer->allowance -= (double)receive(viewer, (size_t)viewer->allowance);
    }
}

static void say_watching(void) {
    static bool said;
    if (said) return;
    for (int i = 0; i < count; i++) {
        if (viewers[i].ended) die("a stream ended at once");
        if (viewers[i].frames == 0) return;
    }
    said = true;
    printf("watching\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 6) die("PORT REQUEST VIEWERS THROTTLED BYTES_PER_S");
    count = atoi(argv[3]);
    throttled = atoi(argv[4]);
    double rate = atof(argv[5]);
    viewers = calloc((size_t)count, sizeof *viewers);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &interest);
    for (int i = 0; i < count; i++) {
        connect_viewer(&viewers[i], atoi(argv[1]), argv[2]);
        interest.data.ptr = &viewers[i];
        if (i >= throttled) epoll_ctl(poller, EPOLL_CTL_ADD, viewers[i].fd, &interest);
    }
    for (int64_t last = now_us();;) {
        struct epoll_event events[64];
        int happened = epoll_wait(poller, events, 64, throttled ? TICK_MS : 1000);
        for (int i = 0; i < happened; i++) {
            if (events[i].data.ptr == NULL) command();
            else receive(events[i].data.ptr, SIZE_MAX);
        }
        int64_t now = now_us();
        if (throttled && now - last >= TICK_MS * 1000) {
            read_slowly(rate, now - last);
            last = now;
        }
        say_watching();
    }
}
