# Puts what stands between markers in a page anew; `make docs` runs it, tests/test_docs.c compares.
#
#   <!-- params METHOD -->   winnow list params METHOD --markdown
#   <!-- schedules -->       winnow list schedules --markdown
#   <!-- benchmarks -->      winnow list benchmarks --markdown
#   <!-- grids -->           winnow list grids --markdown
#   <!-- file PATH -->       the file, as a block of code
#   <!-- end -->
#
# awk -v winnow=build/winnow -f docs/refresh.awk docs/methods.md
function put(command,    line, status) {
    while ((status = (command | getline line)) > 0)
        print line
    if (status < 0 || close(command) != 0)
        stop("`" command "` failed")
}
function stop(why) {
    print FILENAME ":" FNR ": " why > "/dev/stderr"
    stopped = 1
    exit 1
}
/^<!-- (params [^ ]+|schedules|benchmarks|grids|file [^ ]+) -->$/ {
    if (inside)
        stop("a marker before the <!-- end --> of the one in line " inside)
    print
    inside = FNR
    if ($2 == "file") {
        print "```c"
        put("cat " $3)
        print "```"
    } else {
        put(winnow " list " $2 ($2 == "params" ? " " $3 : "") " --markdown")
    }
}
/^<!-- end -->$/ { inside = 0 }
!inside { print }
END {
    if (inside && !stopped)
        stop("no <!-- end --> for the marker in line " inside)
}
