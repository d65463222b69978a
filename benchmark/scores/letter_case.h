// Which characters have a case, and which are passed over in looking for one that has: the
// properties Cased and Case_Ignorable of Unicode, by which a sigma knows the end of a word.
#pragma once

namespace elastron::benchmark {

bool is_cased(char32_t character);
bool is_case_ignorable(char32_t character);

}  // namespace elastron::benchmark
