/* The package index as records. */
#include "cli/packages.h"

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/example.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES_MAX (1u << 30)
#define SAMPLE         "data/packages.sample"

/* The line at *at, with its newline; false at the end of the text. */
static bool line_next(struct bytes text, size_t *at, struct bytes *line)
{
    if (*at >= text.size) return false;
    const uint8_t *start = text.data + *at, *end = memchr(start, '\n', text.size - *at);
    size_t size = end ? (size_t)(end + 1 - start) : text.size - *at;
    *line = bytes_of(start, size);
    *at += size;
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* One field with the lines that go on with it, from *at. False at the end. A line that is no field
 * comes out with no name. */
static bool field_next(struct bytes record, size_t *at, struct package_field *out)
{
    struct bytes line, more;
    *out = (struct package_field){0};
    if (!line_next(record, at, &line)) return false;

    const uint8_t *end = line.data + line.size;
    while (*at < record.size && is_blank(record.data[*at]) && line_next(record, at, &more))
        end = more.data + more.size;
    const uint8_t *colon = memchr(line.data, ':', line.size);
    if (!colon || is_blank(line.data[0])) return true;

    const uint8_t *value = colon + 1;
    while (value < end && is_blank(*value)) value++;
    while (end > value && (end[-1] == '\n' || end[-1] == '\r')) end--;
    out->name = bytes_of(line.data, (size_t)(colon - line.data));
    out->value = bytes_of(value, (size_t)(end - value));
    return true;
}

size_t package_fields(struct bytes record, struct package_field out[PACKAGE_FIELDS_MAX])
{
    size_t at = 0, count = 0;
    struct package_field field;
    while (field_next(record, &at, &field)) {
        size_t i = 0;
        if (field.name.size == 0) continue;
        while (i < count && !bytes_equal(out[i].name, field.name)) i++;
        if (i == PACKAGE_FIELDS_MAX) continue;
        out[i] = field;
        count += i == count;
    }
    return count;
}

uint64_t package_field_digest(struct bytes name, struct bytes value)
{
    return hash_mix(hash64(value, hash64(name, 1)));
}

/* The name of a record, or an empty one. */
static struct bytes record_name(struct bytes record)
{
    size_t at = 0;
    struct package_field field;
    while (field_next(record, &at, &field))
        if (bytes_equal(field.name, BYTES("Package"))) return field.value;
    return (struct bytes){0};
}

/* The paragraph at *at without the blank lines around it; false at the end. */
static bool record_next(struct bytes text, size_t *at, struct bytes *record)
{
    struct bytes line;
    const uint8_t *start = NULL;
    while (line_next(text, at, &line)) {
        bool blank = line.data[0] == '\n' || (line.data[0] == '\r' && line.size == 2);
        if (!blank && !start) start = line.data;
        if (blank && start) {
            *record = bytes_of(start, (size_t)(line.data - start));
            return true;
        }
    }
    if (!start) return false;
    *record = bytes_of(start, (size_t)(text.data + text.size - start));
    return true;
}

void packages_index(struct packages *p)
{
    struct map known = {0}; /* hash of a name -> its index + 1 */
    size_t at = 0, capacity = 0;
    struct bytes record;
    while (record_next(buf_bytes(&p->text), &at, &record)) {
        struct bytes name = record_name(record);
        if (name.size == 0 || name.size > 512) continue;
        uint64_t key = hash64(name, 0);
        size_t index = (size_t)map_get(&known, key);
        if (!index) {
            if (p->count == capacity) {
                capacity = capacity ? capacity * 2 : 1024;
                p->list = mem_realloc(p->list, capacity * sizeof *p->list);
            }
            index = ++p->count;
            map_put(&known, key, (void *)index);
        }
        p->list[index - 1] = (struct package){name, record};
    }
    map_deinit(&known);
}

void packages_deinit(struct packages *p)
{
    buf_deinit(&p->text);
    mem_free(p->list);
    *p = (struct packages){0};
}

/* Appends all of a stream to text. */
static bool stream_read(struct packages *p, FILE *in)
{
    enum { STEP = 1 << 20 };
    while (p->text.size < TEXT_BYTES_MAX) {
        size_t n = fread(buf_reserve(&p->text, STEP), 1, STEP, in);
        if (n == 0) break;
        p->text.size += n;
    }
    return !ferror(in);
}

static bool file_read(struct packages *p, const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in) return false;
    bool good = stream_read(p, in);
    fclose(in);
    if (good) packages_index(p);
    return good && p->count > 0;
}

static bool apt_read(struct packages *p)
{
    FILE *in = popen("LC_ALL=C apt-cache dumpavail 2>/dev/null", "re");
    if (!in) return false;
    bool good = stream_read(p, in);
    good &= pclose(in) == 0;
    if (good) packages_index(p);
    return good && p->count > 0;
}

static bool sample_read(struct packages *p)
{
    char path[EXAMPLE_PATH_MAX];
    return example_find(SAMPLE, path) && file_read(p, path);
}

bool packages_read(struct packages *p, const char *file, const char **source, char *error,
                   size_t error_size)
{
    *p = (struct packages){0};
    if (file) {
        *source = file;
        if (file_read(p, file)) return true;
        snprintf(error, error_size, "%s holds no package records: %s", file,
                 errno ? strerror(errno) : "wrong format");
    } else {
        *source = "apt-cache dumpavail";
        if (apt_read(p)) return true;
        packages_deinit(p);
        *source = "the sample that comes with synod, for apt-cache knows nothing here";
        if (sample_read(p)) return true;
        snprintf(error, error_size, "neither apt-cache nor examples/%s has any package records",
                 SAMPLE);
    }
    packages_deinit(p);
    return false;
}
