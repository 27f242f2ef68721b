/* A libnvidia-ml.so.1 for tests: it answers as a script file says at the moment of each call. See fake.py for the script's words.
 * Signatures and structures: NVML API reference, https://docs.nvidia.com/deploy/nvml-api/. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10, GPU_IS_LOST = 15 };
#define GPUS 16
#define MIGS 8

typedef struct { int gpu, mig; } Device;
typedef struct { int next; unsigned registered; } EventSet;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
typedef struct { unsigned field, scope; int64_t timestamp, latency; unsigned type; int result; union { unsigned u; unsigned long long ull; } value; } Field;
typedef struct { Device *device; unsigned long long type, data; unsigned gi, ci; } Event;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; uint8_t cluster[16]; int status; uint32_t clique; unsigned state; uint32_t health; } Fabric;

static char script[4096];
static Device gpus[GPUS], migs[GPUS][MIGS];

void fake_script(const char *path) { snprintf(script, sizeof script, "%s", path); }

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char *text_now;
static char **lines;
static size_t count;
static struct stat read_as;

static int by_text(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

/* Reads the script again where it is another file than before: it is replaced as a whole. */
static void refresh(void) {
    struct stat is;
    if (stat(script, &is) || (text_now && is.st_ino == read_as.st_ino && is.st_mtim.tv_nsec == read_as.st_mtim.tv_nsec && is.st_mtim.tv_sec == read_as.st_mtim.tv_sec))
        return;
    FILE *file = fopen(script, "r");
    if (!file) return;
    free(text_now);
    text_now = calloc(1, (size_t)is.st_size + 1);
    if (fread(text_now, 1, (size_t)is.st_size, file) == (size_t)is.st_size) read_as = is;
    fclose(file);
    lines = realloc(lines, ((size_t)is.st_size + 1) * sizeof *lines);
    count = 0;
    for (char *line = strtok(text_now, "\n"); line; line = strtok(NULL, "\n")) lines[count++] = line;
    qsort(lines, count, sizeof *lines, by_text);
}

/* Of a line up to its first blank, which is a key. */
static int by_key(const void *key, const void *line) {
    const char *k = key, *l = *(char *const *)line;
    size_t length = strlen(k);
    int order = strncmp(k, l, length);
    return order ? order : ' ' - (unsigned char)l[length];
}

/* The rest of the line that begins with `key `; whether there is one. */
static int said(const char *key, char *out, size_t size) {
    pthread_mutex_lock(&turn);
    refresh();
    char **line = bsearch(key, lines, count, sizeof *lines, by_key);
    if (line) snprintf(out, size, "%s", *line + strlen(key) + 1);
    pthread_mutex_unlock(&turn);
    return line != NULL;
}

static int number(const char *key, unsigned long long *out) {
    char text[512];
    if (!said(key, text, sizeof text)) return 0;
    *out = strtoull(text, NULL, 0);
    return 1;
}

static int of(int gpu, const char *what, unsigned long long *out) {
    char key[128];
    snprintf(key, sizeof key, "%d.%s", gpu, what);
    return number(key, out);
}

static int text_of(int gpu, const char *what, char *out, size_t size) {
    char key[128];
    snprintf(key, sizeof key, "%d.%s", gpu, what);
    return said(key, out, size);
}

/* What every call does first: hang while the script says so, fail with the code the script says. */
static int first(const char *function, int gpu) {
    char key[128];
    unsigned long long value;
    snprintf(key, sizeof key, "hang %s", function);
    char rest[8];
    while (said(key, rest, sizeof rest)) usleep(2000);
    snprintf(key, sizeof key, "hang.%s", function);
    while (gpu >= 0 && of(gpu, key, &value)) usleep(2000);
    snprintf(key, sizeof key, "fail.%s", function);
    if (number(key, &value)) return (int)value;
    if (gpu >= 0) {
        if (of(gpu, "lost", &value) && value) return GPU_IS_LOST;
        if (of(gpu, key, &value)) return (int)value;
    }
    return OK;
}

#define FIRST(device) do { int code = first(__func__, (device)); if (code) return code; } while (0)
/* A value the script gives, or NOT_SUPPORTED. */
#define GIVE(device, what, out) do { unsigned long long v; FIRST((device)->gpu); if (!of((device)->gpu, what, &v)) return NOT_SUPPORTED; *(out) = v; return OK; } while (0)

const char *nvmlErrorString(int code) {
    switch (code) {
    case NOT_SUPPORTED: return "Not Supported";
    case GPU_IS_LOST: return "GPU is lost";
    case 9: return "Driver Not Loaded";
    default: return "Unknown Error";
    }
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; FIRST(-1); return OK; }
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { FIRST(-1); return said("driver", out, size) ? OK : NOT_SUPPORTED; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    unsigned long long n = 0;
    FIRST(-1);
    number("gpus", &n);
    *count = n;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out) {
    unsigned long long n = 0;
    number("gpus", &n);
    if (index >= n || index >= GPUS) return INVALID_ARGUMENT;
    FIRST((int)index);
    gpus[index] = (Device){(int)index, -1};
    *out = &gpus[index];
    return OK;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *address, Device **out) {
    unsigned domain, bus, device, at[3];
    char text[64];
    if (sscanf(address, "%x:%x:%x", &domain, &bus, &device) != 3) return INVALID_ARGUMENT;
    for (int gpu = 0; gpu < GPUS; gpu++)
        if (text_of(gpu, "pci", text, sizeof text) && sscanf(text, "%x:%x:%x", &at[0], &at[1], &at[2]) == 3
            && at[0] == domain && at[1] == bus && at[2] == device) {
            FIRST(gpu);
            gpus[gpu] = (Device){gpu, -1};
            *out = &gpus[gpu];
            return OK;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetPciInfo_v3(Device *d, Pci *out) {
    FIRST(d->gpu);
    memset(out, 0, sizeof *out);
    return text_of(d->gpu, "pci", out->bus_id, sizeof out->bus_id) ? OK : NOT_SUPPORTED;
}

static int text_answer(Device *d, const char *what, char *out, unsigned size) {
    char key[64];
    if (d->mig >= 0) snprintf(key, sizeof key, "mig.%d.%s", d->mig, what); else snprintf(key, sizeof key, "%s", what);
    return text_of(d->gpu, key, out, size) ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetName(Device *d, char *out, unsigned size) { FIRST(d->gpu); return text_answer(d, "name", out, size); }
int nvmlDeviceGetUUID(Device *d, char *out, unsigned size) { FIRST(d->gpu); return text_answer(d, "uuid", out, size); }
int nvmlDeviceGetSerial(Device *d, char *out, unsigned size) { FIRST(d->gpu); return text_answer(d, "serial", out, size); }
int nvmlDeviceGetMemoryInfo(Device *d, Memory *out) { memset(out, 0, sizeof *out); GIVE(d, d->mig < 0 ? "memory" : "mig.memory", &out->total); }

int nvmlDeviceGetCudaComputeCapability(Device *d, int *major, int *minor) {
    char text[64];
    FIRST(d->gpu);
    return text_of(d->gpu, "compute", text, sizeof text) && sscanf(text, "%d %d", major, minor) == 2 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetTotalEccErrors(Device *d, unsigned kind, unsigned counter, unsigned long long *out) {
    GIVE(d, kind == 0 ? "ecc_corrected" : counter == 0 ? "ecc_uncorrected" : "ecc_uncorrected_total", out);
}

int nvmlDeviceGetRemappedRows(Device *d, unsigned *correctable, unsigned *uncorrectable, unsigned *pending, unsigned *failed) {
    char text[64];
    FIRST(d->gpu);
    return text_of(d->gpu, "remapped", text, sizeof text) && sscanf(text, "%u %u %u %u", correctable, uncorrectable, pending, failed) == 4 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetRetiredPagesPendingStatus(Device *d, unsigned *out) { GIVE(d, "retired_pending", out); }
int nvmlDeviceGetCurrentClocksEventReasons(Device *d, unsigned long long *out) { GIVE(d, "reasons", out); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *d, unsigned long long *out) { GIVE(d, "throttle_reasons", out); }
int nvmlDeviceGetPcieReplayCounter(Device *d, unsigned *out) { GIVE(d, "replay", out); }
int nvmlDeviceGetCurrPcieLinkWidth(Device *d, unsigned *out) { GIVE(d, "width", out); }
int nvmlDeviceGetMaxPcieLinkWidth(Device *d, unsigned *out) { GIVE(d, "max_width", out); }

int nvmlDeviceGetNvLinkState(Device *d, unsigned link, unsigned *out) {
    char key[64];
    unsigned long long v;
    FIRST(d->gpu);
    snprintf(key, sizeof key, "link.%u", link);
    if (!of(d->gpu, key, &v)) return INVALID_ARGUMENT;
    *out = v;
    return OK;
}

int nvmlDeviceGetFieldValues(Device *d, int count, Field *fields) {
    char key[64];
    unsigned long long v;
    FIRST(d->gpu);
    for (int i = 0; i < count; i++) {
        if (fields[i].field == 230) snprintf(key, sizeof key, "recovery_action");
        else snprintf(key, sizeof key, "field.%u.%u", fields[i].field, fields[i].scope);
        fields[i].result = of(d->gpu, key, &v) ? OK : NOT_SUPPORTED;
        if (fields[i].result) continue;
        fields[i].type = fields[i].field == 230 ? 1 : 3;
        if (fields[i].type == 1) { memset(&fields[i].value, 0xff, sizeof fields[i].value); fields[i].value.u = v; } else fields[i].value.ull = v;
    }
    return OK;
}

int nvmlDeviceGetGpuFabricInfoV(Device *d, Fabric *out) {
    char text[64];
    FIRST(d->gpu);
    if (out->version != 0x02000024) return 25;
    return text_of(d->gpu, "fabric", text, sizeof text) && sscanf(text, "%u %d %x", &out->state, &out->status, &out->health) == 3 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) {
    unsigned long long v;
    FIRST(d->gpu);
    if (!of(d->gpu, "mig_mode", &v)) return NOT_SUPPORTED;
    *current = *pending = v;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *out) { FIRST(d->gpu); *out = MIGS; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned index, Device **out) {
    char key[64], text[64];
    FIRST(d->gpu);
    snprintf(key, sizeof key, "mig.%u.instance", index);
    if (index >= MIGS || !text_of(d->gpu, key, text, sizeof text)) return NOT_FOUND;
    migs[d->gpu][index] = (Device){d->gpu, (int)index};
    *out = &migs[d->gpu][index];
    return OK;
}

static int instance(Device *d, int which, unsigned *out) {
    char key[64], text[64];
    unsigned ids[2];
    snprintf(key, sizeof key, "mig.%d.instance", d->mig);
    if (!text_of(d->gpu, key, text, sizeof text) || sscanf(text, "%u %u", &ids[0], &ids[1]) != 2) return NOT_FOUND;
    *out = ids[which];
    return OK;
}

int nvmlDeviceGetGpuInstanceId(Device *d, unsigned *out) { FIRST(d->gpu); return instance(d, 0, out); }
int nvmlDeviceGetComputeInstanceId(Device *d, unsigned *out) { FIRST(d->gpu); return instance(d, 1, out); }

int nvmlEventSetCreate(EventSet **out) { FIRST(-1); *out = calloc(1, sizeof **out); return OK; }
int nvmlEventSetFree(EventSet *set) { free(set); return OK; }
int nvmlDeviceGetSupportedEventTypes(Device *d, unsigned long long *out) { FIRST(d->gpu); *out = 0x8 | 0x4000 | 0x8000; return OK; }
int nvmlDeviceRegisterEvents(Device *d, unsigned long long kinds, EventSet *set) { FIRST(d->gpu); (void)kinds; set->registered |= 1u << d->gpu; return OK; }

/* Events are lines `event.N gpu type data gi ci`, told in turn, each to a set that was registered for its GPU. */
int nvmlEventSetWait_v2(EventSet *set, Event *out, unsigned milliseconds) {
    char key[64], text[128];
    int gpu;
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        FIRST(-1);
        snprintf(key, sizeof key, "event.%d", set->next);
        if (said(key, text, sizeof text) && sscanf(text, "%d %llx %llu %x %x", &gpu, &out->type, &out->data, &out->gi, &out->ci) == 5) {
            set->next++;
            if (set->registered & 1u << gpu) { out->device = &gpus[gpu]; return OK; }
        }
        usleep(2000);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < milliseconds);
    return TIMEOUT;
}
