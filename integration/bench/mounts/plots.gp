# Draws the plots of docs/performance.md: gnuplot integration/bench/mounts/plots.gp,
# from the top of the repository, after `make plots` has measured.
set terminal svg size 720,400 dynamic background "white" font "sans,12"
set datafile separator "\t"
set key outside right
set grid
set logscale xy
columns(file) = int(system("head -1 " . file . " | tr '\\t' '\\n' | wc -l"))

set output "docs/throughput.svg"
set title "Sequential reads from the local cache"
set xlabel "request size, KiB"
set ylabel "MB/s"
set xtics (4, 16, 64, 256, 1024, 4096)
plot for [i=2:columns("docs/throughput.tsv")] "docs/throughput.tsv" using 1:i with linespoints lw 2 title columnheader(i)

set output "docs/latency.svg"
set title "Small files, nothing cached"
set xlabel "latency of the store, ms (0 drawn at 0.5)"
set ylabel "ms for each file of 16 KiB"
set xtics ("0" 0.5, 1, 5, 20, 50, 100)
plot for [i=2:columns("docs/latency.tsv")] "docs/latency.tsv" using ($1 == 0 ? 0.5 : $1):i with linespoints lw 2 title columnheader(i)
