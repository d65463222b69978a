// Accuracy by length class as a picture.
#pragma once
#include <string>

#include "reward/benchmark_report.h"

namespace elastron::report {

// A self-contained SVG: a series with 95 % intervals for each file (strict accuracy), chance, and
// the accuracy of both length rules over all files where the lengths are known; the number of pairs
// under each length class. Cells without a pair stay empty.
std::string accuracy_plot(const reward::BenchmarkReport& report);

}  // namespace elastron::report
