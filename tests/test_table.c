/* Tables of tab-separated values with pictures inside: what pandas would read, windows, pictures to their
 * last byte, and tables that are not what they should be. */
#include <sys/resource.h>

#include "core/memory.h"
#include "datasets/table.h"
#include "harness/template.h"
#include "tests/score_bed.h"
#include "tests/shared.h"

static void put_base64(FILE *file, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        unsigned bits = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                        (left > 2 ? bytes[i + 2] : 0);
        putc(digits[bits >> 18], file);
        putc(digits[bits >> 12 & 63], file);
        putc(left > 1 ? digits[bits >> 6 & 63] : '=', file);
        putc(left > 2 ? digits[bits & 63] : '=', file);
    }
}

/* ---- tables ----------------------------------------------------------------------------------------------
 */

static const struct table_column three[] = {{"index", true}, {"a b", false}, {"absent", false}};

/* Every row's two texts as "[index|a b]", missing as "-". */
static void assert_table(const char *bytes, size_t n, const char *expected)
{
    char found[4096] = "";
    struct table *table;
    const struct table_row *row;
    struct error err;
    const char *path = bed_bytes("t.tsv", bytes, n);
    enum status status = table_open(&table, path, three, 3, "image", NULL, &err);
    while (status == OK && (status = table_next(&row, table, &err)) == OK && row) {
        assert_null(row->text[2]);
        snprintf(found + strlen(found), sizeof found - strlen(found), "[%s|%s]",
                 row->text[0] ? row->text[0] : "-", row->text[1] ? row->text[1] : "-");
    }
    table_close(table);
    if (status != OK ? !strstr(err.text, expected) : strcmp(found, expected) != 0)
        fail_msg("%s: expected \"%s\", found \"%s\"", bytes, expected, status != OK ? err.text : found);
}

#define ASSERT_TABLE(text, expected) assert_table(text, sizeof text - 1, expected)

static void table_corners(void **state)
{
    (void)state;
    ASSERT_TABLE("index\ta b\n1\tx\n2\ty", "[1|x][2|y]");
    ASSERT_TABLE("index\ta b\r\n1\tx\r\n\r\n2\ty\r\n", "[1|x][2|y]");
    ASSERT_TABLE("index\ta b\r1\tx\r2\ty\r", "[1|x][2|y]");
    ASSERT_TABLE("\xef\xbb\xbf"
                 "index\ta b\n1\tx\n",
                 "[1|x]");
    ASSERT_TABLE("z\t\"a b\"\tindex\n0\t\"a \"\"b\"\"\tc\nd\r\ne\"\t1\n", "[1|a \"b\"\tc\nd\r\ne]");
    ASSERT_TABLE("index\ta b\n1\tx \"y\" z\n2\t\"y\"z\"\n", "[1|x \"y\" z][2|yz\"]");
    ASSERT_TABLE("index\ta b\n1\t\"\"\"\"\n2\t\"\"\n", "[1|\"][2|-]");
    ASSERT_TABLE("index\ta b\n1\tnan\n2\t\"NA\"\n3\tNone\n4\tnone\n5\n", "[1|-][2|-][3|-][4|none][5|-]");
    ASSERT_TABLE("index\ta b\n", "");
    ASSERT_TABLE("index\ta b\n  \n1\tx\n \r\n  ", "[1|x]");
    ASSERT_TABLE("index\ta b\n \tx\n\" \"\n", "[ |x][ |-]");
    ASSERT_TABLE("", "is empty");
    ASSERT_TABLE("a b\n1\n", "no column \"index\"");
    ASSERT_TABLE("index\ta b\tindex\n", "twice");
    ASSERT_TABLE("index\ta b\n1\t2\t3\n", "found more");
    ASSERT_TABLE("index\ta b\n1\t\"2\n3\t4\n", "whole download");
    ASSERT_TABLE("index\ta b\n1\t2\n3", "whole download");
    ASSERT_TABLE("index\ta b\n1\t\0\n", "zero byte");
    ASSERT_TABLE("index\ta b\n1\t\xff\n", "no UTF-8");
    struct table *table;
    struct error err;
    assert_int_equal(table_open(&table, bed_folder, three, 3, NULL, NULL, &err), BAD_INPUT);
    assert_int_equal(table_open(&table, bed_path("none.tsv"), three, 3, NULL, NULL, &err), BAD_INPUT);
    /* A quote that nothing ends must not take the file into memory. */
    enum { N = 3 << 20 };
    char *text = memory_alloc(N, 1);
    memset(text, 'x', N);
    memcpy(text, "index\n\"", 7);
    assert_table(text, N, "more than");
    free(text);
}

/* A cell may begin, end and be quoted at any byte of the window that the file is read through. */
static void table_at_window_edges(void **state)
{
    (void)state;
    enum { WINDOW_BYTES = 1 << 18 };
    char *text = memory_alloc(WINDOW_BYTES + 4096, 1);
    for (int shift = -24; shift <= 2; shift++) {
        int n = snprintf(text, 64, "pad\tindex\ta b\timage\n"), fill = WINDOW_BYTES + shift - n;
        memset(text + n, 'p', (size_t)fill);
        n += fill;
        n += snprintf(text + n, 256, "\t7\t\"q\"\"\r\n\tz\"\t\"QUJD\"\r\np\t8\tw\tQUJE\r\n");
        const char *path = bed_bytes("edge.tsv", text, (size_t)n);
        struct table *table;
        const struct table_row *row;
        struct error err;
        uint8_t *bytes;
        size_t n_bytes;
        assert_int_equal(table_open(&table, path, three, 3, "image", NULL, &err), OK);
        for (int r = 0; r < 2; r++) {
            assert_int_equal(table_next(&row, table, &err), OK);
            assert_string_equal(row->text[0], r ? "8" : "7");
            assert_string_equal(row->text[1], r ? "w" : "q\"\r\n\tz");
            assert_string_equal(row->picture.reference, r ? "QUJE" : "QUJD");
            assert_int_equal(
                table_picture(&bytes, &n_bytes, path, row->picture.at, row->picture.n_bytes, &err), OK);
            assert_true(n_bytes == 3 && memcmp(bytes, r ? "ABD" : "ABC", 3) == 0);
            free(bytes);
        }
        assert_int_equal(table_next(&row, table, &err), OK);
        assert_null(row);
        table_close(table);
    }
    free(text);
}

static void assert_picture(const char *base64, const char *expected)
{
    uint8_t *bytes;
    size_t n;
    struct error err;
    const char *path = bed_file("p.txt", base64);
    enum status status = table_picture(&bytes, &n, path, 0, (int64_t)strlen(base64), &err);
    if (status == OK ? n != strlen(expected) || memcmp(bytes, expected, n) != 0 : !strstr(err.text, expected))
        fail_msg("\"%s\": expected %s, found %s", base64, expected, status == OK ? "other bytes" : err.text);
    free(bytes);
}

static void picture_corners(void **state)
{
    (void)state;
    assert_picture("QUJDRA==", "ABCD");
    assert_picture(" QUJD\r\nRE\tU= \n", "ABCDE");
    assert_picture("QUJDRA", "cut off");
    assert_picture("QUJDRA=", "cut off");
    assert_picture("", "cut off");
    assert_picture("Q===", "0x3d");
    assert_picture("QQ==QUJD", "nothing is expected");
    assert_picture("QU\"JD", "0x22");
    assert_picture("QU-_", "0x2d");
    uint8_t *bytes;
    size_t n;
    struct error err;
    const char *path = bed_file("p.txt", "QUJD");
    assert_int_equal(table_picture(&bytes, &n, path, 1, 4, &err), BAD_INPUT);
    assert_int_equal(table_picture(&bytes, &n, path, -1, 4, &err), BAD_INPUT);
    assert_int_equal(table_picture(&bytes, &n, path, 0, INT64_MAX, &err), BAD_INPUT);
    assert_int_equal(table_picture(&bytes, &n, path, INT64_MAX, INT64_MAX, &err), BAD_INPUT);
    assert_int_equal(table_picture(&bytes, &n, bed_path("none"), 0, 4, &err), BAD_INPUT);
    assert_null(bytes);
}

/* Real pictures to a table and back, the rotations naming their base row as VLMEvalKit's tables do. */
static void mmbench_real_pictures(void **state)
{
    (void)state;
    static const int ids[] = {1, 21, 318, 1156, 2967};
    char photo[SHARED_PATH], relative[64];
    char *original[5];
    size_t n_original[5];
    struct error err;
    const char *path = bed_path("MMBench_DEV_EN.tsv");
    FILE *file = fopen(path, "wb");
    fputs("index\tquestion\tA\tB\tanswer\timage\tl2-category\tcategory\n", file);
    for (int i = 0; i < 5; i++) {
        snprintf(relative, sizeof relative, "data/images/mmbench/%d.jpg", ids[i]);
        if (!shared_path(photo, sizeof photo, relative))
            shared_skip("data/images/mmbench");
        assert_int_equal(file_read(&original[i], &n_original[i], photo, 1 << 24, &err), OK);
        fprintf(file, "%d\tWhich?\tone\ttwo\tA\t", ids[i]);
        put_base64(file, (const unsigned char *)original[i], n_original[i]);
        fprintf(file, "\tcoarse_perception\timage_style\n");
    }
    for (int i = 0; i < 5; i++)
        fprintf(file, "%d\tWhich?\ttwo\tone\tB\t%d\tcoarse_perception\timage_style\n", 1000000 + ids[i],
                ids[i]);
    fclose(file);
    struct dataset data;
    if (benchmark_read(&data, "mmbench", &(struct benchmark_paths){.questions = path}, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(data.n, 10);
    for (int i = 0; i < 10; i++) {
        const struct sample *sample = &data.samples[i];
        uint8_t *bytes;
        size_t n;
        assert_int_equal(sample->media, MEDIA_TABLE);
        assert_string_equal(sample->image, data.samples[i % 5].image);
        assert_string_equal(sample->group, data.samples[i % 5].question_id);
        assert_string_equal(sample->cluster, sample->group);
        assert_string_equal(sample->category, "CP");
        assert_int_equal(sample_placeholders(&data, i).n, 1);
        assert_int_equal(table_picture(&bytes, &n, sample->table, sample->at, sample->n_base64, &err), OK);
        assert_int_equal(n, n_original[i % 5]);
        assert_memory_equal(bytes, original[i % 5], n);
        free(bytes);
    }
    dataset_close(&data);
    for (int i = 0; i < 5; i++)
        free(original[i]);
}

static void mmbench_bad_tables(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } tables[] = {
        {"index\tquestion\tA\tB\tanswer\nx\tq\ta\tb\tA\n", "whole number"},
        {"index\tquestion\tA\tB\tanswer\n-1\tq\ta\tb\tA\n", "whole number"},
        {"index\tquestion\tA\tB\tanswer\n99999999999\tq\ta\tb\tA\n", "whole number"},
        {"index\tquestion\tA\tB\tanswer\n\tq\ta\tb\tA\n", "whole number"},
        {"index\tquestion\tA\tB\tanswer\n1\tq\ta\tb\tA\n1\tq\ta\tb\tA\n", "occurs twice"},
        {"index\tquestion\tA\tB\tanswer\n1\tq\ta\tb\tC\n", "letter of an option"},
        {"index\tquestion\tA\tB\tanswer\n1\tq\ta\tb\tAB\n", "letter of an option"},
        {"index\tquestion\tA\tB\tanswer\n1\t\ta\tb\tA\n", "\"question\": is empty"},
        {"index\tquestion\tA\tB\tanswer\n1000001\tq\ta\tb\tA\n", "rotation of question 1"},
        {"index\tquestion\tA\tanswer\n1\tq\ta\tA\n", "no column \"B\""},
        {"index\tquestion\tA\tB\tanswer\n", "holds no question"},
        {"index,question,A,B,answer\n1,q,a,b,A\n", "tab-separated"},
        {"index\tquestion\tA\tB\timage\n1\tq\ta\tb\t\n", "\"image\": is empty"},
        {"index\tquestion\tA\tB\timage\n1\tq\ta\tb\t2\n", "not there"},
        {"index\tquestion\tA\tB\timage\n1\tq\ta\tb\t1\n", "no picture itself"},
        {"index\tquestion\tA\tB\timage\n1\tq\ta\tb\t../x\n", "whole number"},
        {"index\tquestion\tA\tB\tanswer\n1\tq\ta\tb", "whole download"},
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        bed_refused("mmbench", &(struct benchmark_paths){.questions = bed_file("bad.tsv", tables[i].text)},
                    NULL, tables[i].expected);
    bed_refused("mmbench", &(struct benchmark_paths){.questions = "a", .annotations = "b"}, NULL,
                "give it as");
    bed_refused("mini-mmbench", &(struct benchmark_paths){.root = bed_folder}, NULL, "winnow world");
}

/* The pictures of a table pass by; nothing of them may stay. */
static void table_of_many_pictures(void **state)
{
    (void)state;
    enum { N = 1 << 19, ROWS = 96 };
    char *picture = memory_alloc(N + 1, 1);
    memset(picture, 'A', N);
    picture[N] = '\0';
    const char *path = bed_path("big.tsv");
    FILE *file = fopen(path, "wb");
    fputs("index\tquestion\tA\tB\tanswer\timage\n", file);
    for (int i = 0; i < ROWS; i++)
        fprintf(file, "%d\tq\ta\tb\tA\t%s\n", i, picture);
    fclose(file);
    struct rusage before, after;
    struct dataset data;
    struct error err;
    getrusage(RUSAGE_SELF, &before);
    assert_int_equal(benchmark_read(&data, "mmbench", &(struct benchmark_paths){.questions = path}, &err),
                     OK);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(data.n, ROWS);
    assert_true(data.samples[ROWS - 1].n_base64 == N);
    assert_true(after.ru_maxrss - before.ru_maxrss < 16 << 10); /* KiB; the table has 48 MiB */
    dataset_close(&data);
    free(picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(table_corners, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(table_at_window_edges, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(picture_corners, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mmbench_real_pictures, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(mmbench_bad_tables, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(table_of_many_pictures, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
