# gpio-sim and vimc out of tree, for the kernel VERSION, from Debian's source of it. irq_sim is no module of its own in
# Debian's kernel, and irq_to_desc is not exported: it goes into gpio-sim, with the call that is.
TREE := $(shell ls -d /usr/src/linux-source-*.tar.xz)
SOURCE = $(basename $(basename $(notdir $(TREE))))

all: sources
	$(MAKE) -C /lib/modules/$(VERSION)/build M=/build/gpio-sim modules
	$(MAKE) -C /lib/modules/$(VERSION)/build M=/build/vimc modules CONFIG_VIDEO_VIMC=m

sources:
	tar -xJf $(TREE) $(SOURCE)/drivers/gpio $(SOURCE)/kernel/irq $(SOURCE)/drivers/media/test-drivers/vimc
	mkdir -p gpio-sim
	cp $(SOURCE)/drivers/gpio/gpio-sim.c gpio-sim/gpio-sim-core.c
	cp $(SOURCE)/drivers/gpio/dev-sync-probe.* gpio-sim/ 2>/dev/null || true
	sed 's/handle_simple_irq(irq_to_desc(irqnum))/generic_handle_irq(irqnum)/' $(SOURCE)/kernel/irq/irq_sim.c >gpio-sim/irq_sim.c
	printf 'obj-m := gpio-sim.o\ngpio-sim-y := gpio-sim-core.o irq_sim.o\n' >gpio-sim/Kbuild
	cp -R $(SOURCE)/drivers/media/test-drivers/vimc vimc
