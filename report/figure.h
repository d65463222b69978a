// A figure of a page: a picture, what it shows, and its numbers.
#pragma once
#include <string>

#include "report/table.h"

namespace elastron::report {

struct Figure {
  std::string title, note;  // note: a sentence on how to read it; may be empty
  std::string svg;
  Table numbers;
  std::string numbers_note;  // where the table has fewer numbers than the picture; may be empty
};

}  // namespace elastron::report
