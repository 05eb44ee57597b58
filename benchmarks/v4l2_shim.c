/* A webcam without hardware: loaded with LD_PRELOAD, it answers a program's V4L2 calls on one path.
 *
 * The path is a FIFO that the benchmark makes. Its read end behaves in poll and select as a capture device does:
 * readable when a frame is there, never writable. Only open, ioctl, mmap and close are stepped in for, so whatever
 * reads a real webcam (ustreamer, FFmpeg, PyAV) reads this one, with the same system calls but the ioctls.
 *
 * A thread stands in for the driver: at each tick it copies the next JPEG into a queued buffer, as uvcvideo does, and
 * stamps it with its number and the time, so that its age can be read wherever it arrives. The copy is charged to the
 * program under test.
 *
 *   SHIM_DEVICE  path of the FIFO      SHIM_FRAMES  folder of JPEGs, made by frames.py      SHIM_FPS  frames per second
 *
 * Structures and numbers are those of linux/videodev2.h. For 64-bit Linux.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST_BUFFERS 32
#define MOST_DESCRIPTORS 16
#define SECOND_NS 1000000000LL

/* After the start-of-image marker frames.py leaves a comment segment: marker, length, then this text. */
#define STAMP_AT 6
#define STAMP_LENGTH 38
#define STAMP_FORMAT "piapi n=%010u us=%016llu"
#define STAMP_BEGIN "piapi n="

struct frame {
    unsigned char *data;
    size_t length;
    bool stamped;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int descriptors[MOST_DESCRIPTORS]; /* every open descriptor of the device, plus one; 0 is free */
    int owner;                         /* the one that has the buffers, -1: nobody */
    bool owner_waits;                  /* it was opened without O_NONBLOCK */
    struct frame *frames;
    unsigned count, width, height;
    double fps;
    int memory;    /* of the buffers, a memfd */
    int bell;      /* the FIFO's write end: a byte for each finished buffer */
    unsigned char *mapped;
    unsigned buffers;
    size_t size;   /* of one buffer */
    unsigned queued[MOST_BUFFERS], queued_count;
    unsigned done[MOST_BUFFERS], done_count;
    struct v4l2_buffer state[MOST_BUFFERS];
    bool streaming;
    pthread_t driver;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .owner = -1, .memory = -1, .bell = -1};

/* What a call would have reached without us. Looked up once: piapi and others make many ioctls on their sockets. */
#define REAL(name)                                          \
    ({                                                      \
        static __typeof__(&name) found;                     \
        if (found == NULL) found = (__typeof__(&name))real(#name); \
        found;                                              \
    })

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

static bool is_device(const char *path) {
    const char *wanted = getenv("SHIM_DEVICE");
    return wanted != NULL && path != NULL && strcmp(path, wanted) == 0;
}

/* Without the lock: a descriptor is written once, before its number is known to anybody. */
static bool is_ours(int fd) {
    for (int i = 0; i < MOST_DESCRIPTORS; i++)
        if (fd >= 0 && device.descriptors[i] == fd + 1) return true;
    return false;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Frames ---------------------------------------------------------------------------------------------------------- */

static int is_jpeg(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".jpg") == 0;
}

/* Mapped, so that nothing of it is left in the program's own memory when it has closed the device. */
static bool load_frame(const char *path, struct frame *frame) {
    struct stat status;
    int file = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0) return false;
    frame->length = (size_t)status.st_size;
    frame->data = REAL(mmap)(NULL, frame->length, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    REAL(close)(file);
    if (frame->data == MAP_FAILED) return false;
    frame->stamped = frame->length > STAMP_AT + STAMP_LENGTH &&
                     memcmp(frame->data + STAMP_AT, STAMP_BEGIN, strlen(STAMP_BEGIN)) == 0;
    return true;
}

/* Width and height from the frame header (ITU-T T.81, B.2.2). */
static void measure(const struct frame *frame) {
    for (size_t at = 2; at + 9 < frame->length && frame->data[at] == 0xFF;) {
        unsigned char marker = frame->data[at + 1];
        if (marker >= 0xC0 && marker <= 0xC2) {
            device.height = (unsigned)(frame->data[at + 5] << 8 | frame->data[at + 6]);
            device.width = (unsigned)(frame->data[at + 7] << 8 | frame->data[at + 8]);
            return;
        }
        at += 2 + (size_t)(frame->data[at + 2] << 8 | frame->data[at + 3]);
    }
}

static bool load(void) {
    if (device.frames != NULL) return true;
    const char *folder = getenv("SHIM_FRAMES"), *fps = getenv("SHIM_FPS");
    struct dirent **names;
    int count = folder == NULL ? -1 : scandir(folder, &names, is_jpeg, alphasort);
    if (count <= 0) {
        fprintf(stderr, "v4l2_shim: no JPEGs in SHIM_FRAMES\n");
        return false;
    }
    struct frame *frames = calloc((size_t)count, sizeof *frames);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (frames == NULL || !load_frame(path, &frames[i])) abort();
        if (frames[i].length > device.size) device.size = frames[i].length;
        free(names[i]);
    }
    free(names);
    device.fps = fps == NULL ? 30.0 : atof(fps);
    device.size = (device.size + 4095) & ~(size_t)4095;
    device.count = (unsigned)count;
    measure(&frames[0]);
    device.frames = frames;
    return true;
}

static void unload(void) {
    for (unsigned i = 0; i < device.count; i++) munmap(device.frames[i].data, device.frames[i].length);
    free(device.frames);
    device.frames = NULL;
    device.count = 0;
    device.size = 0;
}

/* The driver ------------------------------------------------------------------------------------------------------ */

static unsigned take_first(unsigned *list, unsigned *count) {
    unsigned first = list[0];
    memmove(list, list + 1, --*count * sizeof *list);
    return first;
}

/* One tick: the next frame into the buffer that was queued first. None queued: the frame is lost, as on hardware. */
static void deliver(unsigned number) {
    if (device.queued_count == 0) return;
    const struct frame *frame = &device.frames[number % device.count];
    unsigned index = take_first(device.queued, &device.queued_count);
    unsigned char *target = device.mapped + index * device.size;
    int64_t us = now_ns() / 1000;
    memcpy(target, frame->data, frame->length);
    if (frame->stamped) {
        char stamp[STAMP_LENGTH + 1];
        int length = snprintf(stamp, sizeof stamp, STAMP_FORMAT, number, (unsigned long long)us);
        memcpy(target + STAMP_AT, stamp, (size_t)length);
    }
    struct v4l2_buffer *state = &device.state[index];
    state->bytesused = (unsigned)frame->length;
    state->sequence = number;
    state->timestamp.tv_sec = us / 1000000;
    state->timestamp.tv_usec = us % 1000000;
    device.done[device.done_count++] = index;
    if (write(device.bell, "", 1) != 1) abort();
    pthread_cond_broadcast(&device.changed);
}

static void *drive(void *unused) {
    pthread_setname_np(pthread_self(), "v4l2-shim");
    int64_t start = now_ns(), interval = (int64_t)(SECOND_NS / device.fps);
    for (unsigned number = 0;; number++) {
        int64_t due = start + number * interval;
        struct timespec until = {due / SECOND_NS, due % SECOND_NS};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
        pthread_mutex_lock(&device.lock);
        bool streaming = device.streaming;
        if (streaming) deliver(number);
        pthread_mutex_unlock(&device.lock);
        if (!streaming) return unused;
    }
}

/* With the lock held; let go of while the thread ends. */
static void stop(void) {
    if (!device.streaming) return;
    device.streaming = false;
    pthread_cond_broadcast(&device.changed);
    pthread_mutex_unlock(&device.lock);
    pthread_join(device.driver, NULL);
    pthread_mutex_lock(&device.lock);
    char byte;
    for (; device.done_count > 0; device.done_count--)
        if (read(device.owner, &byte, 1) != 1) break;
    device.queued_count = device.done_count = 0;
}

static void release(void) {
    stop();
    if (device.mapped != NULL) munmap(device.mapped, device.buffers * device.size);
    if (device.memory >= 0) REAL(close)(device.memory);
    if (device.bell >= 0) REAL(close)(device.bell);
    device.mapped = NULL;
    device.memory = device.bell = device.owner = -1;
    device.buffers = 0;
}

/* The calls ------------------------------------------------------------------------------------------------------- */

static int refuse(int error) {
    errno = error;
    return -1;
}

static int query_capabilities(struct v4l2_capability *answer) {
    memset(answer, 0, sizeof *answer);
    strcpy((char *)answer->driver, "uvcvideo");
    strcpy((char *)answer->card, "Shim webcam");
    strcpy((char *)answer->bus_info, "usb-0000:00:00.0-1");
    answer->version = 6 << 16;
    answer->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    answer->capabilities = answer->device_caps | V4L2_CAP_DEVICE_CAPS;
    return 0;
}

static int enumerate_inputs(struct v4l2_input *answer) {
    if (answer->index > 0) return refuse(EINVAL);
    memset(answer, 0, sizeof *answer);
    strcpy((char *)answer->name, "Camera 1");
    answer->type = V4L2_INPUT_TYPE_CAMERA;
    return 0;
}

static int enumerate_formats(struct v4l2_fmtdesc *answer) {
    if (answer->index > 0 || answer->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return refuse(EINVAL);
    answer->flags = V4L2_FMT_FLAG_COMPRESSED;
    answer->pixelformat = V4L2_PIX_FMT_MJPEG;
    strcpy((char *)answer->description, "Motion-JPEG");
    return 0;
}

static int enumerate_sizes(struct v4l2_frmsizeenum *answer) {
    if (answer->index > 0 || answer->pixel_format != V4L2_PIX_FMT_MJPEG) return refuse(EINVAL);
    answer->type = V4L2_FRMSIZE_TYPE_DISCRETE;
    answer->discrete.width = device.width;
    answer->discrete.height = device.height;
    return 0;
}

static int enumerate_intervals(struct v4l2_frmivalenum *answer) {
    if (answer->index > 0) return refuse(EINVAL);
    answer->type = V4L2_FRMIVAL_TYPE_DISCRETE;
    answer->discrete.numerator = 1;
    answer->discrete.denominator = (unsigned)device.fps;
    return 0;
}

/* Whatever is asked for, there is one format, as with a simple webcam. */
static int format(struct v4l2_format *answer) {
    if (answer->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return refuse(EINVAL);
    memset(&answer->fmt, 0, sizeof answer->fmt);
    answer->fmt.pix.width = device.width;
    answer->fmt.pix.height = device.height;
    answer->fmt.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
    answer->fmt.pix.field = V4L2_FIELD_NONE;
    answer->fmt.pix.sizeimage = (unsigned)device.size;
    answer->fmt.pix.colorspace = V4L2_COLORSPACE_JPEG;
    return 0;
}

static int parameters(struct v4l2_streamparm *answer) {
    if (answer->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return refuse(EINVAL);
    memset(&answer->parm, 0, sizeof answer->parm);
    answer->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
    answer->parm.capture.timeperframe.numerator = 1;
    answer->parm.capture.timeperframe.denominator = (unsigned)device.fps;
    answer->parm.capture.readbuffers = 2;
    return 0;
}

static int request_buffers(int fd, struct v4l2_requestbuffers *request) {
    if (request->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || request->memory != V4L2_MEMORY_MMAP) return refuse(EINVAL);
    if (device.owner >= 0 && device.owner != fd) return refuse(EBUSY);
    release();
    if (request->count == 0) return 0;
    if (request->count > MOST_BUFFERS) request->count = MOST_BUFFERS;
    size_t all = request->count * device.size;
    device.bell = REAL(open)(getenv("SHIM_DEVICE"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    device.memory = memfd_create("v4l2-shim", MFD_CLOEXEC);
    if (device.bell < 0 || device.memory < 0 || ftruncate(device.memory, (off_t)all) != 0) return refuse(ENOMEM);
    device.mapped = REAL(mmap)(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, device.memory, 0);
    if (device.mapped == MAP_FAILED) return refuse(ENOMEM);
    device.owner = fd;
    device.owner_waits = !(fcntl(fd, F_GETFL) & O_NONBLOCK);
    device.buffers = request->count;
    memset(device.state, 0, sizeof device.state);
    for (unsigned i = 0; i < device.buffers; i++) {
        device.state[i].index = i;
        device.state[i].type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
        device.state[i].memory = V4L2_MEMORY_MMAP;
        device.state[i].flags = V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        device.state[i].field = V4L2_FIELD_NONE;
        device.state[i].length = (unsigned)device.size;
        device.state[i].m.offset = (unsigned)(i * device.size);
    }
    return 0;
}

static int query_buffer(struct v4l2_buffer *buffer) {
    if (buffer->index >= device.buffers) return refuse(EINVAL);
    *buffer = device.state[buffer->index];
    return 0;
}

static int queue_buffer(struct v4l2_buffer *buffer) {
    if (buffer->index >= device.buffers || buffer->memory != V4L2_MEMORY_MMAP) return refuse(EINVAL);
    for (unsigned i = 0; i < device.queued_count; i++)
        if (device.queued[i] == buffer->index) return refuse(EINVAL);
    device.queued[device.queued_count++] = buffer->index;
    return 0;
}

static int dequeue_buffer(struct v4l2_buffer *buffer) {
    while (device.streaming && device.done_count == 0 && device.owner_waits)
        pthread_cond_wait(&device.changed, &device.lock);
    if (!device.streaming) return refuse(EINVAL);
    char byte;
    if (device.done_count == 0 || read(device.owner, &byte, 1) != 1) return refuse(EAGAIN);
    *buffer = device.state[take_first(device.done, &device.done_count)];
    return 0;
}

static int stream_on(int fd) {
    if (device.owner != fd) return refuse(EINVAL);
    if (device.streaming) return 0;
    device.streaming = true;
    if (pthread_create(&device.driver, NULL, drive, NULL) == 0) return 0;
    device.streaming = false;
    return refuse(ENOMEM);
}

static int answer(int fd, unsigned long request, void *argument) {
    switch ((unsigned)request) { /* some callers keep it in an int, and it comes sign-extended */
    case VIDIOC_QUERYCAP: return query_capabilities(argument);
    case VIDIOC_ENUM_FMT: return enumerate_formats(argument);
    case VIDIOC_ENUM_FRAMESIZES: return enumerate_sizes(argument);
    case VIDIOC_ENUM_FRAMEINTERVALS: return enumerate_intervals(argument);
    case VIDIOC_S_FMT: if (device.streaming) return refuse(EBUSY); /* fall through */
    case VIDIOC_G_FMT:
    case VIDIOC_TRY_FMT: return format(argument);
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: return parameters(argument);
    case VIDIOC_G_INPUT: *(int *)argument = 0; return 0;
    case VIDIOC_S_INPUT: return *(int *)argument == 0 ? 0 : refuse(EINVAL);
    case VIDIOC_REQBUFS: return request_buffers(fd, argument);
    case VIDIOC_QUERYBUF: return query_buffer(argument);
    case VIDIOC_QBUF: return queue_buffer(argument);
    case VIDIOC_DQBUF: return dequeue_buffer(argument);
    case VIDIOC_STREAMON: return stream_on(fd);
    case VIDIOC_STREAMOFF: stop(); return 0;
    case VIDIOC_ENUMINPUT: return enumerate_inputs(argument);
    case VIDIOC_QUERYCTRL:
    case VIDIOC_QUERYMENU:
    case VIDIOC_G_CTRL:
    case VIDIOC_S_CTRL: return refuse(EINVAL);
    default: return refuse(ENOTTY);
    }
}

/* What is stepped in for ------------------------------------------------------------------------------------------ */

static int open_device(int flags) {
    int fd = REAL(open)(getenv("SHIM_DEVICE"), O_RDONLY | O_NONBLOCK | (flags & O_CLOEXEC));
    if (fd < 0) return fd;
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, 0);
    pthread_mutex_lock(&device.lock);
    bool kept = load();
    for (int i = 0; kept && i <= MOST_DESCRIPTORS; i++) {
        kept = i < MOST_DESCRIPTORS;
        if (kept && device.descriptors[i] == 0) {
            device.descriptors[i] = fd + 1;
            break;
        }
    }
    pthread_mutex_unlock(&device.lock);
    if (kept) return fd;
    REAL(close)(fd);
    return refuse(ENODEV);
}

#define MODE(flags, last)                                   \
    mode_t mode = 0;                                        \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                  \
        va_list arguments;                                  \
        va_start(arguments, last);                          \
        mode = va_arg(arguments, mode_t);                   \
        va_end(arguments);                                  \
    }

#define DEFINE_OPEN(name)                                   \
    int name(const char *path, int flags, ...) {            \
        MODE(flags, flags)                                  \
        return is_device(path) ? open_device(flags) : REAL(name)(path, flags, mode); \
    }

#define DEFINE_OPENAT(name)                                 \
    int name(int folder, const char *path, int flags, ...) { \
        MODE(flags, flags)                                  \
        return is_device(path) ? open_device(flags) : REAL(name)(folder, path, flags, mode); \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

/* What open becomes in programs built with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!is_ours(fd)) return REAL(ioctl)(fd, request, argument);
    pthread_mutex_lock(&device.lock);
    int result = answer(fd, request, argument);
    pthread_mutex_unlock(&device.lock);
    return result;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (is_ours(fd)) fd = device.memory;
    return REAL(mmap)(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    if (is_ours(fd)) fd = device.memory;
    return REAL(mmap64)(address, length, protection, flags, fd, offset);
}

int close(int fd) {
    if (is_ours(fd)) {
        pthread_mutex_lock(&device.lock);
        if (device.owner == fd) release();
        bool last = true;
        for (int i = 0; i < MOST_DESCRIPTORS; i++) {
            if (device.descriptors[i] == fd + 1) device.descriptors[i] = 0;
            last = last && device.descriptors[i] == 0;
        }
        if (last) unload();
        pthread_mutex_unlock(&device.lock);
    }
    return REAL(close)(fd);
}
