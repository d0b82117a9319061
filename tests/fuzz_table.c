/* libFuzzer on datasets/table.c: any bytes as a table; every picture of it is decoded. clang
 * -fsanitize=fuzzer,address. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../datasets/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const struct table_column wanted[] = {{"i", false}, {"q", false}};
    char path[64];
    struct error err;
    struct table *table;
    const struct table_row *row;
    int fd = memfd_create("fuzz", 0);
    ENSURE(fd >= 0 && write(fd, data, n_bytes) == (ssize_t)n_bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (table_open(&table, path, wanted, 2, "p", NULL, &err) == OK) {
        while (table_next(&row, table, &err) == OK && row) {
            uint8_t *bytes;
            size_t n;
            const struct table_cell *cell = &row->picture;
            ENSURE(cell->at >= 0 && cell->n_bytes >= 0 && cell->at + cell->n_bytes <= (int64_t)n_bytes);
            ENSURE(strlen(cell->reference) <= TABLE_REFERENCE);
            for (int i = 0; i < 2; i++)
                ENSURE(!row->text[i] || strlen(row->text[i]) <= n_bytes);
            if (table_picture(&bytes, &n, path, cell->at, cell->n_bytes, &err) == OK)
                ENSURE(n > 0 && n < (size_t)cell->n_bytes);
            free(bytes);
        }
        table_close(table);
    }
    /* Alone, whatever its length: digits of base64. */
    uint8_t *bytes;
    size_t n;
    if (table_picture(&bytes, &n, path, 0, (int64_t)n_bytes, &err) == OK)
        ENSURE(n <= n_bytes / 4 * 3);
    free(bytes);
    close(fd);
    return 0;
}
