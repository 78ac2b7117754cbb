/* The package index that every Debian machine has, as records to load: `apt-cache dumpavail`, or a
 * file of that format.
 *
 * A record is a paragraph of "Name: value" lines; lines that begin with a blank go on with the
 * value before them and are kept as they are, newlines included. Of several records for one package
 * the last is kept. All bytes are kept as they come. */
#ifndef SYNOD_CLI_PACKAGES_H
#define SYNOD_CLI_PACKAGES_H

#include "base/buf.h"

#define PACKAGE_FIELDS_MAX 64 /* more are left out */

struct package {
    struct bytes name;
    struct bytes record; /* the whole paragraph */
};

struct packages {
    struct buf text; /* owns every byte */
    struct package *list;
    size_t count;
};

struct package_field {
    struct bytes name, value;
};

/* Reads `file`; NULL: asks apt-cache, and where there is none or it knows nothing, takes the sample
 * that comes with synod. *source is set to a word about where they are from. False, with a line in
 * error[error_size], if there is not one record. */
bool packages_read(struct packages *p, const char *file, const char **source, char *error,
                   size_t error_size);
/* Makes the list from p->text, which the caller filled. */
void packages_index(struct packages *p);
void packages_deinit(struct packages *p);

/* The fields of a record, a later one of the same name over an earlier; they point into it. Returns
 * their number. */
size_t package_fields(struct bytes record, struct package_field out[PACKAGE_FIELDS_MAX]);

/* A sum over fields that does not depend on their order: add up package_field_digest of each. */
uint64_t package_field_digest(struct bytes name, struct bytes value);

#endif
