# The answer of top_dependencies.lua from the file itself, without any database: paragraphs of a package index, the last one of each
# package. Prints "count name", the most frequent first:
#   LC_ALL=C awk -f examples/jobs/top_dependencies.awk FILE | LC_ALL=C sort -k1,1nr -k2,2 | head
BEGIN { RS = ""; FS = "\n" }
{
    package = ""; list = ""; field = ""
    for (i = 1; i <= NF; i++) {
        if ($i ~ /^[ \t]/) { if (field == "Depends") list = list $i; continue }
        field = substr($i, 1, index($i, ":") - 1)
        if (field == "Package") package = substr($i, index($i, ":") + 1)
        if (field == "Depends") list = substr($i, index($i, ":") + 1)
    }
    if (package != "") depends[package] = list
}
END {
    for (package in depends) {
        n = split(depends[package], name, /[,|]/)
        for (i = 1; i <= n; i++) {
            sub(/^[ \t]*/, "", name[i])
            sub(/[^A-Za-z0-9.+-].*$/, "", name[i])
            if (name[i] != "" && !((package, name[i]) in seen)) { seen[package, name[i]] = 1; count[name[i]]++ }
        }
    }
    for (name_of in count) print count[name_of], name_of
}
