// What a benchmark's results say of how they were made.
#pragma once
#include <string>

#include "report/inputs/fields.h"
#include "report/page.h"

namespace elastron::report {

// Settings, and the command that makes them again.
void add_benchmark_facts(Page& page, const std::string& benchmark, const std::string& path,
                         const Json& settings, const Json& made_by);

}  // namespace elastron::report
