"""``python -m gconv_gan VERB …`` and ``accelerate launch -m gconv_gan VERB …``."""

from gconv_gan.cli import main

if __name__ == "__main__":
    main()
