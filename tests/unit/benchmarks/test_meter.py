"""Reading what Linux says about a process."""

import os

from benchmarks.harness.meter import family, parse_cpu_s, parse_rss_mb


def test_cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 {2 * ticks} {ticks} 0 0 20 0 1 0 5"

    assert parse_cpu_s(stat) == 3.0


def test_peak_memory_is_given_in_megabytes() -> None:
    assert parse_rss_mb("Name:\tx\nVmHWM:\t  125000 kB\nVmRSS:\t1 kB\n", "VmHWM") == 128.0


def test_a_kernel_thread_has_no_memory() -> None:
    assert parse_rss_mb("Name:\tkthreadd\n", "VmRSS") == 0.0


def test_a_process_belongs_to_its_own_family() -> None:
    assert os.getpid() in family(os.getpid())
