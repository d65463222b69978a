# elastron_flags(target [PROCESSOR FLAGS...]): warnings and instructions; without flags those of ELASTRON_NATIVE.
# elastron_library(name SOURCES ... [PUBLIC ...] [PRIVATE ...]): one static library per folder.
function(elastron_flags target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror)
  # Designated initialisers leave members at their defaults on purpose; -Wrestrict and
  # -Wmaybe-uninitialized of g++ 12 are wrong about std::string (GCC bug 105651) and std::map.
  target_compile_options(${target} PRIVATE -Wno-missing-field-initializers -Wno-restrict
                         -Wno-maybe-uninitialized)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # It builds the fuzz targets only, and warns about other things than g++.
    target_compile_options(${target} PRIVATE -Wno-error -Wno-unknown-warning-option)
  endif()
  # -fno-math-errno and -fno-trapping-math change no result; -ffast-math would, and is not used.
  target_compile_options(${target} PRIVATE -fno-math-errno -fno-trapping-math)
  if(ARGN)
    target_compile_options(${target} PRIVATE ${ARGN})
  elseif(ELASTRON_NATIVE)
    target_compile_options(${target} PRIVATE -march=native)
  else()
    target_compile_options(${target} PRIVATE -march=x86-64-v3)
  endif()
  if(ELASTRON_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=address,undefined
                           -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  endif()
endfunction()

function(elastron_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(elastron_${name} STATIC ${ARG_SOURCES})
  target_include_directories(elastron_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(elastron_${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  elastron_flags(elastron_${name})
endfunction()
